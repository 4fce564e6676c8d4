"""Noise schedules, spacing and sigmas: published formulas, diffusers' rounding, what bad input gets."""

from __future__ import annotations

import diffusers
import mpmath
import numpy as np
import pytest
import scipy.stats

from genfuse.samplers.schedule import SCHEDULES, noise_schedule
from genfuse.samplers.sigmas import beta_quantile, flow_shift, sigma_to_t, spaced_sigmas
from genfuse.samplers.spacing import (
    custom_sigmas,
    custom_timesteps,
    sigma_grid,
    spaced_timesteps,
    timestep_grid,
)


def test_linear_schedule_is_the_product_of_its_betas() -> None:
    schedule = noise_schedule("linear", 1000)
    with mpmath.workdps(40):
        product = mpmath.mpf(1)
        for t in range(1000):
            product *= 1 - (mpmath.mpf(1e-4) + (mpmath.mpf(0.02) - mpmath.mpf(1e-4)) * t / 999)
            if t in (0, 499, 999):
                assert schedule.alphas_cumprod[t] == pytest.approx(float(product), rel=1e-13)


def test_cosine_schedule_follows_its_curve() -> None:
    schedule = noise_schedule("squaredcos_cap_v2", 100)
    curve = (
        np.cos((np.arange(1, 101) / 100 + 0.008) / 1.008 * np.pi / 2) ** 2
        / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    )
    np.testing.assert_allclose(
        schedule.alphas_cumprod[:-1], curve[:-1], rtol=1e-10
    )  # the last beta is capped


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("zero_snr", [False, True])
def test_float32_schedule_is_bit_for_bit_the_peers(name: str, zero_snr: bool) -> None:
    if name == "exp":
        theirs = diffusers.HeunDiscreteScheduler(beta_schedule="exp")
        zero_snr = False
    else:
        theirs = diffusers.DDPMScheduler(beta_schedule=name, rescale_betas_zero_snr=zero_snr)
    rounded = noise_schedule(name, rescale_betas_zero_snr=zero_snr, precision="float32")
    assert np.array_equal(rounded.alphas_cumprod, theirs.alphas_cumprod.double().numpy())
    exact = noise_schedule(name, rescale_betas_zero_snr=zero_snr)
    np.testing.assert_allclose(exact.alphas_cumprod, rounded.alphas_cumprod, atol=1e-6)


def test_zero_terminal_snr_keeps_the_first_level_and_ends_at_nothing() -> None:
    plain, rescaled = noise_schedule(), noise_schedule(rescale_betas_zero_snr=True)
    assert rescaled.alphas_cumprod[-1] == 0
    assert rescaled.alphas_cumprod[0] == pytest.approx(plain.alphas_cumprod[0], rel=1e-12)
    signal = np.sqrt(plain.alphas_cumprod)
    expected = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    np.testing.assert_allclose(np.sqrt(rescaled.alphas_cumprod), expected, atol=1e-12)
    assert np.isinf(rescaled.sigmas[-1])
    assert np.isfinite(rescaled.with_finite_sigmas().sigmas).all()


def test_trained_betas() -> None:
    schedule = noise_schedule(trained_betas=[0.1, 0.2, 0.5])
    np.testing.assert_allclose(schedule.alphas_cumprod, [0.9, 0.72, 0.36], rtol=1e-15)


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.01, 0.3, 0.5, 0.77, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("shape", [(0.6, 0.6), (0.5, 2.0), (3.0, 0.7), (1.0, 1.0)])
def test_beta_quantile(p: float, shape: tuple[float, float]) -> None:
    """Within two units in the last place of where mpmath's distribution function is p.

    scipy's own quantile cannot be the judge: it is wrong far out, at (1e-9, 0.5, 2.0) by five orders.
    """
    x = beta_quantile(p, *shape)
    below, above = x - 2 * np.spacing(x), min(x + 2 * np.spacing(x), 1.0)
    with mpmath.workdps(40):
        low, high = (mpmath.betainc(*shape, 0, max(end, 0.0), regularized=True) for end in (below, above))
        assert low * (1 - mpmath.mpf(1e-12)) <= p <= high * (1 + mpmath.mpf(1e-12))


def test_sigmas_between_two_ends() -> None:
    ramp = np.linspace(0, 1, 7)
    karras = (80.0 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80.0 ** (1 / 7))) ** 7
    np.testing.assert_allclose(spaced_sigmas("karras", 0.002, 80.0, 7), karras, rtol=1e-14)
    np.testing.assert_allclose(
        spaced_sigmas("exponential", 0.002, 80.0, 7), 80.0 * (0.002 / 80.0) ** ramp, rtol=1e-13
    )
    beta = 0.002 + scipy.stats.beta.ppf(1 - ramp, 0.6, 0.6) * (80.0 - 0.002)
    np.testing.assert_allclose(spaced_sigmas("beta", 0.002, 80.0, 7), beta, rtol=1e-12)
    assert flow_shift(np.array([0.5]), 3.0)[0] == pytest.approx(0.75)


def test_sigma_to_t_inverts_the_schedule() -> None:
    schedule = noise_schedule()
    times = np.array([0.0, 1.0, 500.0, 999.0])
    np.testing.assert_allclose(
        sigma_to_t(schedule.sigmas[times.astype(int)], schedule.log_sigmas), times, atol=1e-9
    )
    between = np.exp((schedule.log_sigmas[10] + schedule.log_sigmas[11]) / 2)
    assert sigma_to_t(np.array([between]), schedule.log_sigmas)[0] == pytest.approx(10.5)
    assert sigma_to_t(np.array([1e9, 0.0]), schedule.log_sigmas).tolist() == [999.0, 0.0]


def test_spacings_of_the_published_table() -> None:
    """Lin et al. 2024, table 2, which counts timesteps from 1: five of 1000."""
    assert (spaced_timesteps("leading", 10, 1000, steps_offset=1)).tolist() == list(range(901, 0, -100))
    assert (spaced_timesteps("trailing", 10, 1000) + 1).tolist() == list(range(1000, 0, -100))
    assert (spaced_timesteps("linspace", 10, 1000) + 1).tolist() == [
        1000,
        889,
        778,
        667,
        556,
        445,
        334,
        223,
        112,
        1,
    ]
    assert spaced_timesteps("linspace", 3, 1000, rounded=False).tolist() == [999.0, 499.5, 0.0]


@pytest.mark.parametrize("steps", [61, 103, 487, 998])
def test_trailing_has_as_many_steps_as_asked(steps: int) -> None:
    """numpy's arange yields one more here, by rounding; diffusers then calls the network at timestep −1."""
    times = spaced_timesteps("trailing", steps, 1000)
    assert len(times) == steps
    assert times[-1] >= 0


def test_grids_are_of_unit_variance_or_unit_signal() -> None:
    schedule = noise_schedule(rescale_betas_zero_snr=True)
    grid = timestep_grid(schedule, spaced_timesteps("trailing", 5, 1000))
    np.testing.assert_allclose(grid.alpha**2 + grid.sigma**2, 1)
    assert (grid.alpha[0], grid.sigma[-1]) == (0, 0)
    sigmas = np.array([9.0, 2.0, 0.5, 0.0])
    vp = sigma_grid(sigmas, schedule=noise_schedule())
    ve = sigma_grid(sigmas, timesteps=vp.timesteps, coordinates="ve")
    np.testing.assert_allclose(vp.sigma / vp.alpha, sigmas)
    np.testing.assert_allclose(vp.alpha**2 + vp.sigma**2, 1)
    assert np.array_equal(ve.sigma, sigmas)
    assert timestep_grid(schedule, np.array([5.0]), final="sigma_min").sigma[-1] > 0
    half = timestep_grid(noise_schedule(), np.array([500.5]))
    levels = noise_schedule().sigmas[500:502]
    assert half.sigma[0] / half.alpha[0] == pytest.approx(levels.mean())


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="did you mean 'scaled_linear'"):
        noise_schedule("scale_linear")
    with pytest.raises(ValueError, match="num_train_timesteps is 0"):
        noise_schedule(num_train_timesteps=0)
    with pytest.raises(ValueError, match=r"expected \(T,\) values in \[0, 1\]"):
        noise_schedule(trained_betas=[0.1, 1.5])
    with pytest.raises(ValueError, match=r"expected \(T,\) values"):
        noise_schedule(trained_betas=[])
    with pytest.raises(ValueError, match="expected one of 'karras'"):
        spaced_sigmas("karas_", 0.1, 1.0, 3)
    with pytest.raises(ValueError, match="zero terminal SNR"):
        spaced_sigmas("karras", 0.1, float("inf"), 3)
    with pytest.raises(ValueError, match="expected 1 to 10"):
        spaced_timesteps("leading", 11, 10)
    with pytest.raises(TypeError, match="expected an int"):
        spaced_timesteps("leading", 2.5, 10)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="steps_offset is 200"):
        spaced_timesteps("leading", 10, 1000, steps_offset=200)
    with pytest.raises(ValueError, match="strictly descending"):
        custom_timesteps([1, 2], 10)
    with pytest.raises(ValueError, match="expected times in"):
        custom_timesteps([10, 2], 10)
    with pytest.raises(ValueError, match="strictly descending finite"):
        custom_sigmas([1.0, 2.0])
    with pytest.raises(ValueError, match="where sigma is inf"):
        timestep_grid(noise_schedule(rescale_betas_zero_snr=True), np.array([998.5]))
    with pytest.raises(ValueError, match="both None"):
        sigma_grid(np.array([1.0, 0.0]))
