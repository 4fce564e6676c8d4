"""Euler, Euler ancestral, Heun, DPM2, DPM2 ancestral and LMS against diffusers' own classes, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch

from schedulers.peer import IN_FLOAT32, Case, both, check, difference, network, sampled, start, trajectory

BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
STEPS = (5, 20, 50)
SPACINGS = ("leading", "linspace", "trailing")
KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
)
DISCRETE = (
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "LMSDiscreteScheduler",
)


def configs(predictions: tuple[str, ...], *choices: tuple[dict[str, Any], ...]) -> Iterator[dict[str, Any]]:
    for prediction, spacing, beta, *extra in product(predictions, SPACINGS, BETAS, *choices):
        config = {"prediction_type": prediction, "timestep_spacing": spacing, "beta_schedule": beta}
        for choice in extra:
            config.update(choice)
        yield config


def euler_cases() -> Iterator[Case]:
    finals = ({}, {"final_sigmas_type": "sigma_min"})
    snr = ({}, {"rescale_betas_zero_snr": True})
    ends = (
        {},
        {"interpolation_type": "log_linear"},
        {"timestep_type": "continuous"},
        {"sigma_min": 0.1, "sigma_max": 9.0},
    )
    churns = ({}, {"s_churn": 3.0}, {"s_churn": 40.0, "s_tmin": 0.1, "s_tmax": 5.0, "s_noise": 1.01})
    for config, steps, churn in product(
        configs(("epsilon", "v_prediction", "sample"), KINDS, finals, snr, ends), STEPS, churns
    ):
        if churn and "interpolation_type" in config:
            continue  # diffusers then spreads the churn over one step more than it takes
        yield Case(DISCRETE[0], config, steps, churn, stochastic=bool(churn), tolerance=IN_FLOAT32)


def euler_ancestral_cases() -> Iterator[Case]:
    snr = ({}, {"rescale_betas_zero_snr": True})
    for config, steps in product(configs(("epsilon", "v_prediction"), snr), STEPS):
        yield Case(DISCRETE[1], config, steps, stochastic=True, tolerance=IN_FLOAT32)


def heun_cases() -> Iterator[Case]:
    clips = ({}, {"clip_sample": True, "clip_sample_range": 0.8})
    for config, steps in product(configs(("epsilon", "v_prediction", "sample"), KINDS, clips), STEPS):
        # with beta sigmas the last steps grow a rounding a hundredfold each: 1e-12, 1e-10, 1e-7
        tolerance = 1e-6 if config.get("use_beta_sigmas") else 1e-7
        yield Case(DISCRETE[2], config, steps, tolerance=tolerance)


def dpm2_cases() -> Iterator[Case]:
    # a short training schedule: diffusers' constructor builds all of its nodes, in quadratic time
    for config, steps in product(
        configs(("epsilon", "v_prediction"), KINDS, ({"num_train_timesteps": 200},)), STEPS
    ):
        yield Case(DISCRETE[3], config, steps, tolerance=IN_FLOAT32)
        if config["beta_schedule"] != "squaredcos_cap_v2":
            # at that schedule's steep end r'² − r_up² cancels in diffusers' float32: times off by 0.1, or NaN
            yield Case(DISCRETE[4], config, steps, stochastic=True, tolerance=IN_FLOAT32)


def lms_cases() -> Iterator[Case]:
    for config, steps, order in product(
        configs(("epsilon", "v_prediction", "sample"), KINDS), STEPS, (1, 3, 4)
    ):
        yield Case(DISCRETE[5], config, steps, {"order": order})


@pytest.mark.parametrize("case", sampled(euler_cases(), 40), ids=str)
def test_euler(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", sampled(euler_ancestral_cases(), 15), ids=str)
def test_euler_ancestral(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", sampled(heun_cases(), 16), ids=str)
def test_heun(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", sampled(dpm2_cases(), 16), ids=str)
def test_dpm2(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("name", DISCRETE[3:5])
def test_dpm2_over_a_whole_schedule(name: str) -> None:
    check(Case(name, {"use_karras_sigmas": True}, 10, stochastic=name == DISCRETE[4], tolerance=IN_FLOAT32))


@pytest.mark.parametrize("case", sampled(lms_cases(), 20), ids=str)
def test_lms(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "HeunDiscreteScheduler"])
def test_custom_timesteps(name: str) -> None:
    theirs, ours = both(name, {}, timesteps=[980, 700, 333, 40, 2])
    assert difference(trajectory(ours, start()), trajectory(theirs, start())) <= IN_FLOAT32


def test_custom_sigmas() -> None:
    theirs, ours = both("EulerDiscreteScheduler", {}, sigmas=[14.0, 5.0, 1.5, 0.3, 0.0])
    torch.testing.assert_close(ours.sigmas.double(), theirs.sigmas)
    assert difference(trajectory(ours, start()), trajectory(theirs, start())) <= IN_FLOAT32


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("explicit", [True, False], ids=["set_begin_index", "first timestep"])
def test_begins_in_the_middle(name: str, explicit: bool) -> None:
    """Image-to-image: noise to a level in the middle, then the rest of the schedule."""
    theirs, ours = both(name, {"num_train_timesteps": 200}, 12)
    two_calls = ours.order == 2
    begin = 8 if two_calls else 4
    if explicit or two_calls:  # of two rows with one time, either may be meant by the time alone
        for scheduler in (theirs, ours):
            scheduler.set_begin_index(begin)
    x, noise = start(), torch.randn(start().shape, dtype=torch.float64)
    at = ours.timesteps[begin : begin + 1].expand(2)
    noised = [scheduler.add_noise(x, noise, at) for scheduler in (theirs, ours)]
    torch.testing.assert_close(noised[1], noised[0], rtol=1e-6, atol=1e-6)
    seed = 4 if "Ancestral" in name else None
    got = trajectory(_unscaled(ours), noised[0], begin=begin, seed=seed)
    expected = trajectory(_unscaled(theirs), noised[0], begin=begin, seed=seed)
    assert difference(got, expected) <= IN_FLOAT32


@pytest.mark.parametrize("name", DISCRETE)
def test_predicted_x0(name: str) -> None:
    options = {"s_churn": 30.0} if name == "EulerDiscreteScheduler" else {}
    for row in (0, 1):
        theirs, ours = both(name, {"num_train_timesteps": 200}, 10)
        outputs = []
        for scheduler in (theirs, ours):
            generator = torch.Generator().manual_seed(1)
            extra = {**options, **({"generator": generator} if options or "Ancestral" in name else {})}
            x = start() * 5
            for timestep in scheduler.timesteps[: row + 1]:
                scaled = scheduler.scale_model_input(x, timestep)
                output = scheduler.step(network(scaled, timestep), timestep, x, **extra)
                x = output.prev_sample
            outputs.append(output.pred_original_sample.double())
        torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-5)


class _unscaled:
    """A scheduler whose start is already at its level."""

    init_noise_sigma = 1.0

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)
