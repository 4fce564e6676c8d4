"""DDPM, DDIM, PNDM, Euler, Heun, DPM2 and LMS: their published rules, evaluated here, and their order."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pytest
import torch

from genfuse.samplers.ddim import ddim
from genfuse.samplers.ddpm import ddpm
from genfuse.samplers.dpm2 import dpm2, dpm2_ancestral
from genfuse.samplers.euler import euler, euler_ancestral
from genfuse.samplers.grid import Grid
from genfuse.samplers.heun import heun
from genfuse.samplers.lms import lagrange_integrals, lms
from genfuse.samplers.pndm import pndm
from genfuse.samplers.schedule import noise_schedule
from genfuse.samplers.spacing import sigma_grid, timestep_grid
from genfuse.samplers.stepper import Stepper
from genfuse.samplers.table import Clip, Table
from genfuse_kernels.sampler_step.row import COLUMN, TERMS, S, Y

X, OUTPUT, NOISE = 0.7, -0.4, 1.3
SCHEDULE = noise_schedule()
TIMES = np.array([900.0, 640.0, 300.0, 20.0])


def one_step(table: Table, row: int = 0, variance: float | None = None) -> float:
    """A row of a table applied to the numbers above."""
    x, output, noise = (torch.full((1, 1), value, dtype=torch.float64) for value in (X, OUTPUT, NOISE))
    extra = {} if variance is None else {"variance": torch.full((1, 1), variance, dtype=torch.float64)}
    return Stepper(table).step(row, x, output, noise=noise, **extra).item()


def signals(row: int) -> tuple[Any, Any]:
    """alphas_cumprod before and after a step over TIMES."""
    values = [*SCHEDULE.alphas_cumprod[TIMES.astype(int)], 1.0]
    return mpmath.mpf(values[row]), mpmath.mpf(values[row + 1])


@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_large", "learned", "learned_range"])
def test_ddpm_is_the_posterior(variance_type: Any) -> None:
    """Ho et al. 2020, eq. 7 and 15; Nichol & Dhariwal 2021, eq. 15 for the learned range."""
    table = ddpm(timestep_grid(SCHEDULE, TIMES), variance_type=variance_type)
    now, after = signals(1)
    beta = 1 - now / after
    x0 = (X - mpmath.sqrt(1 - now) * OUTPUT) / mpmath.sqrt(now)
    mean = mpmath.sqrt(after) * beta / (1 - now) * x0 + mpmath.sqrt(now / after) * (1 - after) / (1 - now) * X
    small, v = (1 - after) / (1 - now) * beta, mpmath.mpf(0.3)
    variance = {
        "fixed_small": small,
        "fixed_large": beta,
        "learned": mpmath.exp(v),
        "learned_range": mpmath.exp((v + 1) / 2 * mpmath.log(beta) + (1 - v) / 2 * mpmath.log(small)),
    }[variance_type]
    got = one_step(table, 1, variance=0.3 if "learned" in variance_type else None)
    assert got == pytest.approx(float(mean + mpmath.sqrt(variance) * NOISE), rel=1e-13)
    assert not bool(table.rows[-1, COLUMN["y_noise"]])  # the last step adds none


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_is_equation_12(eta: float) -> None:
    """Song et al. 2021, eq. 12 and 16."""
    now, after = signals(1)
    sigma = eta * mpmath.sqrt((1 - after) / (1 - now)) * mpmath.sqrt(1 - now / after)
    x0 = (X - mpmath.sqrt(1 - now) * OUTPUT) / mpmath.sqrt(now)
    expected = mpmath.sqrt(after) * x0 + mpmath.sqrt(1 - after - sigma**2) * OUTPUT + sigma * NOISE
    assert one_step(ddim(timestep_grid(SCHEDULE, TIMES), eta=eta), 1) == pytest.approx(
        float(expected), rel=1e-13
    )


def test_ddim_with_eta_1_is_ddpm() -> None:
    grid = timestep_grid(SCHEDULE, TIMES)
    for row in range(3):
        assert one_step(ddim(grid, eta=1.0), row) == pytest.approx(one_step(ddpm(grid), row), rel=1e-12)


def test_ddim_clips_x0_and_corrects_epsilon_only_where_asked() -> None:
    grid = timestep_grid(SCHEDULE, TIMES)
    now, after = (float(value) for value in signals(0))
    x0 = max(min((X - math.sqrt(1 - now) * OUTPUT) / math.sqrt(now), 0.5), -0.5)
    corrected = (X - math.sqrt(now) * x0) / math.sqrt(1 - now)
    for epsilon, flag in ((OUTPUT, False), (corrected, True)):
        table = ddim(grid, clip=Clip(-0.5, 0.5), use_clipped_model_output=flag)
        assert one_step(table) == pytest.approx(
            math.sqrt(after) * x0 + math.sqrt(1 - after) * epsilon, rel=1e-13
        )


SIGMAS = np.array([9.0, 5.0, 2.2, 0.7, 0.0])


def test_euler_ancestral_is_k_diffusions() -> None:
    sigma, target = SIGMAS[1], SIGMAS[2]
    up = math.sqrt(target**2 * (sigma**2 - target**2) / sigma**2)
    down = math.sqrt(target**2 - up**2)
    grid = sigma_grid(SIGMAS, timesteps=SIGMAS[:-1], coordinates="ve")
    expected = X + OUTPUT * (down - sigma) + up * NOISE
    assert one_step(euler_ancestral(grid), 1) == pytest.approx(expected, rel=1e-13)
    assert one_step(euler_ancestral(grid, eta=0.0), 1) == pytest.approx(
        X + OUTPUT * (target - sigma), rel=1e-13
    )


def test_euler_with_churn_is_algorithm_2() -> None:
    """Karras et al. 2022, algorithm 2 lines 4 to 8, where the network does not see the raised sample."""
    grid = sigma_grid(SIGMAS, timesteps=SIGMAS[:-1], coordinates="ve")
    sigma, target, gamma = SIGMAS[1], SIGMAS[2], min(0.8 / 4, math.sqrt(2) - 1)
    raised = sigma * (1 + gamma)
    x_hat = X + math.sqrt(raised**2 - sigma**2) * 1.02 * NOISE
    expected = x_hat + (target - raised) * OUTPUT
    assert one_step(euler(grid, s_churn=0.8, s_noise=1.02), 1) == pytest.approx(expected, rel=1e-13)
    assert one_step(euler(grid, s_churn=0.8, s_tmin=6.0), 1) == pytest.approx(
        X + (target - sigma) * OUTPUT, rel=1e-13
    )


def test_lms_coefficients_integrate_lagranges_polynomials() -> None:
    nodes = [2.2, 5.0, 9.0, 14.0]
    with mpmath.workdps(30):
        for j, weight in enumerate(lagrange_integrals(np.array(nodes), 2.2, 0.7)):
            others = [node for k, node in enumerate(nodes) if k != j]

            def polynomial(tau: Any, others: list[float] = others, own: float = nodes[j]) -> Any:
                return mpmath.fprod((tau - other) / (own - other) for other in others)

            assert weight == pytest.approx(float(mpmath.quad(polynomial, [2.2, 0.7])), rel=1e-12)


def test_lms_on_even_nodes_is_adams_bashforth() -> None:
    weights = lagrange_integrals(np.array([0.0, -1.0, -2.0, -3.0]), 0.0, 1.0)
    np.testing.assert_allclose(weights, np.array([55, -59, 37, -9]) / 24, rtol=1e-12)


# --- on data whose flow is known: x0 ~ N(0, 0.5²), so x(r) is proportional to √(0.25 + r²) ---

SPREAD = 0.5


def gaussian(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """The best epsilon for x = x0 + sigma·noise."""
    return x * (sigma / (SPREAD**2 + sigma**2))


def error(build: Callable[[Grid], Table], steps: int) -> float:
    """Relative error at sigma = 0.5 after `steps` even steps from sigma = 1."""
    sigmas = np.linspace(1.0, 0.5, steps + 1)
    grid = sigma_grid(sigmas, timesteps=sigmas[:-1], coordinates="ve")
    table, x = build(grid), torch.ones(1, 1, dtype=torch.float64)
    stepper = Stepper(table)
    for row in range(len(table)):
        x = stepper.step(row, x, gaussian(x, evaluated_at(table, row)))
    exact = math.sqrt(SPREAD**2 + 0.25) / math.sqrt(SPREAD**2 + 1.0)
    return abs(x.item() / exact - 1)


def evaluated_at(table: Table, row: int) -> float:
    """The row's time is its sigma here; middle nodes have none of ours, but x0 = x − sigma·m tells theirs."""
    middle = len(table) % 2 == 1 and table.timesteps[row] > 6
    return -float(table.rows[row, COLUMN["x0_m"]]) if middle else float(table.timesteps[row])


ORDERS: dict[str, tuple[Callable[[Grid], Table], float]] = {
    "euler": (euler, 1),
    "ddim": (ddim, 1),
    "heun": (heun, 2),
    "dpm2": (partial(dpm2, schedule=SCHEDULE), 2),
    "lms order 1": (partial(lms, order=1), 1),
    "lms": (lms, 2),  # of order 4 inside; its first step is Euler's
    "pndm": (pndm, 3),  # of order 4 inside; its first step is of order 2
}


@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence(name: str) -> None:
    build, order = ORDERS[name]
    coarse, fine = error(build, 40), error(build, 80)
    # Heun and DPM2 end with a step of Euler's, for sigma = 0; here that one step costs an error of order 2
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.3)


SCALE_FREE: dict[str, Callable[..., Table]] = {
    "ddpm": ddpm,
    "ddpm fixed_large": partial(ddpm, variance_type="fixed_large"),
    "ddim": partial(ddim, eta=0.6),
    "pndm": pndm,
    "euler": partial(euler, s_churn=2.0),
    "euler_ancestral": euler_ancestral,
    "heun": heun,
    "dpm2": partial(dpm2, schedule=SCHEDULE),
    "dpm2_ancestral": partial(dpm2_ancestral, schedule=SCHEDULE),
    "lms": lms,
}


@pytest.mark.parametrize("name", SCALE_FREE)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("clip", [Clip(), Clip(-0.4, 0.4)], ids=["free", "clipped"])
def test_the_scale_of_the_sample_does_not_matter(name: str, prediction: str, clip: Clip) -> None:
    """Variance-preserving and exploding coordinates give one trajectory, up to alpha."""
    if name in ("euler", "pndm") and (clip != Clip() or prediction == "sample"):
        pytest.skip("churn has no clip; PNDM's slope is not an x0")
    sigmas = np.array([8.0, 5.0, 2.2, 0.7, 0.2, 0.0])
    times = np.array([800.0, 600.0, 400.0, 200.0, 100.0])
    results = []
    for coordinates in ("ve", "vp"):
        grid = sigma_grid(sigmas, timesteps=times, coordinates=coordinates)  # type: ignore[arg-type]
        table = SCALE_FREE[name](grid, prediction, clip=clip)
        stepper, generator = Stepper(table), torch.Generator().manual_seed(0)
        x = torch.randn(1, 8, generator=generator, dtype=torch.float64) * 8 * grid.alpha[0]
        for row in range(len(table)):
            output = torch.randn(1, 8, generator=generator, dtype=torch.float64)
            noise = torch.randn(1, 8, generator=generator, dtype=torch.float64)
            x = stepper.step(row, x, output, noise=noise)
        results.append(x / grid.alpha[-1])
    torch.testing.assert_close(results[0], results[1], rtol=1e-11, atol=1e-11)


def test_a_table_that_begins_in_the_middle_keeps_its_row_numbers() -> None:
    grid = timestep_grid(SCHEDULE, TIMES)
    for build in (ddpm, ddim, euler, euler_ancestral, lms, pndm):
        whole, begun = build(grid), build(grid, begin=2)
        assert len(whole) == len(begun)
        assert not bool(begun.rows[:2, Y : S + len(TERMS)].any())
        assert np.array_equal(whole.timesteps, begun.timesteps)
    assert torch.equal(ddim(grid, begin=2).rows[2:], ddim(grid).rows[2:])


def test_zero_terminal_snr() -> None:
    """v prediction steps from pure noise; epsilon cannot, and says so."""
    schedule = noise_schedule(rescale_betas_zero_snr=True)
    grid = timestep_grid(schedule, np.array([999.0, 500.0, 100.0]))
    for build in (ddpm, ddim, euler, euler_ancestral):
        assert bool(torch.isfinite(build(grid, "v_prediction").rows[:, 10:]).all())
        with pytest.raises(ValueError, match="zero terminal SNR"):
            build(grid, "epsilon")
    signal = float(schedule.alphas_cumprod[500])
    expected = math.sqrt(signal) * -OUTPUT + math.sqrt(1 - signal) * X  # at alpha = 0, v = −x0 and x = noise
    assert one_step(ddim(grid, "v_prediction")) == pytest.approx(expected, rel=1e-13)


def test_bad_options() -> None:
    grid = timestep_grid(SCHEDULE, TIMES)
    with pytest.raises(ValueError, match=r"eta is 1\.5"):
        ddim(grid, eta=1.5)
    with pytest.raises(ValueError, match="did you mean 'fixed_small'"):
        ddpm(grid, variance_type="fixed_smal")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="order is 0"):
        lms(grid, order=0)
    with pytest.raises(ValueError, match="begin is 9"):
        euler(grid, begin=9)
    with pytest.raises(ValueError, match="even row"):
        heun(grid, begin=1)
    with pytest.raises(ValueError, match=r"s_churn is 1\.0"):
        euler(grid, s_churn=1.0, clip=Clip(-1, 1))
