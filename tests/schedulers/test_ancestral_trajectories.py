"""DDPM, DDIM and PNDM against diffusers' own classes, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch

from genfuse import schedulers
from schedulers.peer import IN_FLOAT64, Case, both, check, difference, network, sampled, start, trajectory

BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
STEPS = (5, 20, 50)
SPACINGS = ("leading", "linspace", "trailing")
CLIPS: tuple[dict[str, Any], ...] = (
    {"clip_sample": False},
    {"clip_sample": True, "clip_sample_range": 0.7},
    {"thresholding": True, "dynamic_thresholding_ratio": 0.8, "sample_max_value": 1.5},
)


def ddpm_cases() -> Iterator[Case]:
    variances = ("fixed_small", "fixed_small_log", "fixed_large", "learned_range")
    predictions = ("epsilon", "v_prediction", "sample")
    for prediction, spacing, beta, steps, clip, variance, zero_snr in product(
        predictions, SPACINGS, (*BETAS, "sigmoid", "laplace"), STEPS, CLIPS, variances, (False, True)
    ):
        if zero_snr and prediction == "epsilon":
            continue
        config = {"prediction_type": prediction, "timestep_spacing": spacing, "beta_schedule": beta, **clip}
        extra = {"variance_type": variance, "rescale_betas_zero_snr": zero_snr}
        yield Case("DDPMScheduler", {**config, **extra}, steps, stochastic=True)


def ddim_cases() -> Iterator[Case]:
    predictions = ("epsilon", "v_prediction", "sample")
    for prediction, spacing, beta, steps, clip, eta, corrected, to_one, zero_snr in product(
        predictions,
        SPACINGS,
        BETAS,
        STEPS,
        CLIPS,
        (0.0, 0.5, 1.0),
        (False, True),
        (False, True),
        (False, True),
    ):
        # from pure noise with eta = 1 diffusers takes the root of 0 less a rounding error
        if zero_snr and (prediction == "epsilon" or corrected or eta == 1.0):
            continue
        config = {"prediction_type": prediction, "timestep_spacing": spacing, "beta_schedule": beta, **clip}
        extra = {"set_alpha_to_one": to_one, "rescale_betas_zero_snr": zero_snr}
        options = {"eta": eta, "use_clipped_model_output": corrected}
        yield Case("DDIMScheduler", {**config, **extra}, steps, options, stochastic=eta > 0)


def ddim_inverse_cases() -> Iterator[Case]:
    for prediction, spacing, beta, steps, clip, offset in product(
        ("epsilon", "v_prediction", "sample"), ("leading", "trailing"), BETAS, STEPS, CLIPS[:2], (0, 1)
    ):
        config = {"prediction_type": prediction, "timestep_spacing": spacing, "beta_schedule": beta, **clip}
        # at no noise at all an x0 prediction says nothing of epsilon: start from the first level then
        extra = {"steps_offset": offset, "set_alpha_to_one": prediction != "sample"}
        yield Case("DDIMInverseScheduler", {**config, **extra}, steps)


def pndm_cases() -> Iterator[Case]:
    for prediction, spacing, beta, steps, skip, to_one in product(
        ("epsilon", "v_prediction"), SPACINGS, BETAS, STEPS, (False, True), (False, True)
    ):
        config = {"prediction_type": prediction, "timestep_spacing": spacing, "beta_schedule": beta}
        yield Case("PNDMScheduler", {**config, "skip_prk_steps": skip, "set_alpha_to_one": to_one}, steps)


@pytest.mark.parametrize("case", sampled(ddpm_cases(), 30), ids=str)
def test_ddpm(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", sampled(ddim_cases(), 30), ids=str)
def test_ddim(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", sampled(ddim_inverse_cases(), 12), ids=str)
def test_ddim_inverse(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", sampled(pndm_cases(), 24), ids=str)
def test_pndm(case: Case) -> None:
    check(case)


def test_ddpm_learned_variance() -> None:
    """The network's second half is the variance itself, so it must be positive."""
    theirs, ours = both("DDPMScheduler", {"variance_type": "learned"}, 10)
    x = {"theirs": start(), "ours": start()}
    generators = {name: torch.Generator().manual_seed(5) for name in x}
    for timestep in ours.timesteps:
        for name, scheduler in (("theirs", theirs), ("ours", ours)):
            mean, variance = network(x[name], timestep, 2).chunk(2, dim=1)
            output = torch.cat([mean, variance.abs() + 1e-3], dim=1)
            x[name] = scheduler.step(output, timestep, x[name], generator=generators[name]).prev_sample
        torch.testing.assert_close(x["ours"], x["theirs"], rtol=1e-9, atol=1e-9)


def test_ddpm_custom_timesteps() -> None:
    theirs, ours = both("DDPMScheduler", {}, timesteps=[900, 500, 499, 3, 0])
    assert ours.timesteps.tolist() == [900, 500, 499, 3, 0]
    assert difference(trajectory(ours, start(), seed=1), trajectory(theirs, start(), seed=1)) <= 1e-9


def test_ddpm_takes_every_training_step_without_set_timesteps() -> None:
    theirs, ours = both("DDPMScheduler", {"num_train_timesteps": 30}, 30)
    fresh = type(ours)(num_train_timesteps=30)
    assert difference(trajectory(fresh, start(), seed=1), trajectory(theirs, start(), seed=1)) <= 1e-9


def test_fixed_large_log_is_fixed_large() -> None:
    """diffusers takes the root of a negative logarithm here and returns NaN; the two name one variance."""
    _, large = both("DDPMScheduler", {"variance_type": "fixed_large"}, 10)
    _, large_log = both("DDPMScheduler", {"variance_type": "fixed_large_log"}, 10)
    assert torch.equal(trajectory(large, start(), seed=1), trajectory(large_log, start(), seed=1))


def test_one_step_solvers_step_at_any_timestep() -> None:
    """DDPM and DDIM may be asked for any timestep of the schedule, in any order, as diffusers may."""
    for name in ("DDPMScheduler", "DDIMScheduler"):
        theirs, ours = both(name, {}, 10)
        x = start()
        for row in (3, 9, 0, 3):
            timestep = ours.timesteps[row]
            outputs = [
                scheduler.step(
                    network(x, timestep), timestep, x, generator=torch.Generator().manual_seed(row)
                )
                for scheduler in (theirs, ours)
            ]
            torch.testing.assert_close(outputs[1].prev_sample, outputs[0].prev_sample, rtol=1e-9, atol=1e-9)


def test_a_list_of_generators_draws_for_each_sample() -> None:
    theirs, ours = both("DDPMScheduler", {}, 5)
    timestep, x = ours.timesteps[0], start()
    steps = [
        s.step(
            network(x, timestep), timestep, x, generator=[torch.Generator().manual_seed(i) for i in (1, 2)]
        )
        for s in (theirs, ours)
    ]
    torch.testing.assert_close(steps[1].prev_sample, steps[0].prev_sample, rtol=1e-9, atol=1e-9)


def test_ddim_takes_the_noise_it_is_given() -> None:
    theirs, ours = both("DDIMScheduler", {}, 5)
    timestep, x = ours.timesteps[1], start()
    noise = torch.randn(x.shape, dtype=x.dtype)
    steps = [
        s.step(network(x, timestep), timestep, x, eta=0.8, variance_noise=noise).prev_sample
        for s in (theirs, ours)
    ]
    torch.testing.assert_close(steps[1], steps[0], rtol=1e-9, atol=1e-9)


def test_inversion_then_sampling_returns_to_the_start() -> None:
    """With an epsilon that does not depend on x, DDIM is exactly undone by its inverse."""
    inverse, forward = (
        both(name, {"clip_sample": False}, 20)[1] for name in ("DDIMInverseScheduler", "DDIMScheduler")
    )
    x = data = start()
    epsilon = torch.randn(x.shape, dtype=x.dtype)
    for timestep in inverse.timesteps:
        x = inverse.step(epsilon, timestep, x).prev_sample
    assert (x - data).abs().max() > 0.5
    for timestep in forward.timesteps:
        x = forward.step(epsilon, timestep, x).prev_sample
    torch.testing.assert_close(x, data, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: next(iter(clip)))
def test_predicted_x0(name: str, clip: dict[str, Any]) -> None:
    theirs, ours = both(name, clip, 10)
    timestep, x = ours.timesteps[4], 2 * start()
    outputs = [
        s.step(network(x, timestep), timestep, x, generator=torch.Generator().manual_seed(1))
        for s in (theirs, ours)
    ]
    torch.testing.assert_close(
        outputs[1].pred_original_sample, outputs[0].pred_original_sample, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("begin", [1, 2, 8, 20])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_pndm_that_begins_in_the_middle(begin: int, spacing: str, prediction: str) -> None:
    """diffusers takes the second call for the first step's repetition wherever it begins."""
    config = {"skip_prk_steps": True, "timestep_spacing": spacing, "prediction_type": prediction}
    theirs, ours = both("PNDMScheduler", config, 20)
    expected, got = (trajectory(scheduler, start(), begin=begin) for scheduler in (theirs, ours))
    assert difference(got, expected) <= IN_FLOAT64


def test_pndm_takes_its_steps_in_order() -> None:
    _, ours = both("PNDMScheduler", {"skip_prk_steps": True}, 20)
    x = start()
    ours.step(x, ours.timesteps[8], x)
    with pytest.raises(ValueError, match="in order"):
        ours.step(x, ours.timesteps[12], x)
    runge_kutta = schedulers.PNDMScheduler()
    runge_kutta.set_timesteps(20)
    with pytest.raises(ValueError, match="the Runge-Kutta start cannot begin in the middle"):
        runge_kutta.step(x, runge_kutta.timesteps[8], x)
