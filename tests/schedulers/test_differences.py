"""Where genfuse's classes and diffusers' differ on purpose, or once differed by accident."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from schedulers.peer import both, difference, ours, start, trajectory


def rows_taken(scheduler: Any) -> list[int]:
    """The row that each step of a whole run took, found by its timestep alone."""
    x, rows = start(), []
    for timestep in scheduler.timesteps[:3]:
        scheduler.step(x, timestep, x)
        rows.append(scheduler.step_index - 1)
    return rows


def test_a_run_whose_first_timesteps_coincide_starts_at_the_first() -> None:
    """diffusers looks the second of them up, and skips a row."""
    theirs, own = both("DPMSolverMultistepInverseScheduler", {"use_exponential_sigmas": True}, 50)
    assert own.timesteps[0] == own.timesteps[1]
    assert rows_taken(own) == [0, 1, 2] and rows_taken(theirs) == [1, 2, 3]
    assert own.index_for_timestep(own.timesteps[0]) == 1  # by its value, as there


@pytest.mark.parametrize("s_churn", [0.0, 1.0, 40.0])
def test_log_linear_euler_churns_by_diffusers_count_of_sigmas(s_churn: float) -> None:
    theirs, own = both("EulerDiscreteScheduler", {"interpolation_type": "log_linear"}, 5)
    assert len(theirs.sigmas) == len(own.sigmas) + 1
    samples = [trajectory(scheduler, start(), seed=1, s_churn=s_churn) for scheduler in (own, theirs)]
    assert difference(*samples) < 1e-5


@pytest.mark.parametrize("kind", ["karras", "exponential", "beta"])
def test_one_step_of_inversion_is_at_the_least_noise(kind: str) -> None:
    theirs, own = both("DPMSolverMultistepInverseScheduler", {f"use_{kind}_sigmas": True}, 1)
    assert own.timesteps.tolist() == theirs.timesteps.tolist() == [0]
    torch.testing.assert_close(own.sigmas, theirs.sigmas.float())


@pytest.mark.parametrize(
    "name",
    [
        "DEISMultistepScheduler",
        "SASolverScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "UniPCMultistepScheduler",
    ],
)
@pytest.mark.parametrize("kind", ["karras", "exponential", "beta"])
def test_flow_sigmas_beside_others_are_refused(name: str, kind: str) -> None:
    config = {"use_flow_sigmas": True, f"use_{kind}_sigmas": True}
    if name == "UniPCMultistepScheduler" and kind == "karras":
        ours(name, **config).set_timesteps(5)  # converted, as in diffusers
        return
    with pytest.raises(ValueError, match=f"use_flow_sigmas is True beside {kind} sigmas"):
        ours(name, **config)


def test_deis_says_what_it_does_not_run() -> None:
    with pytest.raises(ValueError, match="prediction_type is 'flow_prediction' and use_flow_sigmas is False"):
        ours("DEISMultistepScheduler", prediction_type="flow_prediction")


def test_kdpm2_has_the_sigmas_that_steps_read() -> None:
    theirs, own = both("KDPM2DiscreteScheduler", {}, 4)
    read: Tensor = theirs.sigmas[: len(own.sigmas)].float()
    torch.testing.assert_close(own.sigmas, read)
    assert not theirs.sigmas[len(own.sigmas) :].any() and len(theirs.sigmas) == len(own.sigmas) + 2


def test_one_step_with_a_least_sigma_above_the_only_one() -> None:
    """diffusers takes the node's own sigma and leaves sigma_min out."""
    scheduler = ours("EulerDiscreteScheduler", sigma_min=20.0, use_karras_sigmas=True)
    with pytest.raises(ValueError, match=r"^sigma_min is 20.0 and sigma_max is 0.01.*; where one is not set"):
        scheduler.set_timesteps(1)
    scheduler.set_timesteps(2)


@pytest.mark.parametrize(
    ("name", "narrowed"),
    [
        ("EulerDiscreteScheduler", "model_output"),
        ("FlowMatchEulerDiscreteScheduler", "model_output"),
        ("UniPCMultistepScheduler", "sample"),
    ],
)
def test_two_dtypes_give_the_wider(name: str, narrowed: str) -> None:
    """A half-precision network beside a float32 sample does not round the sample away at each step."""
    dtypes = {}
    for scheduler in both(name, {}, 4):
        given = {"model_output": start().float(), "sample": start().float()}
        given[narrowed] = given[narrowed].half()
        timestep = scheduler.timesteps[0]
        dtypes[type(scheduler).__module__.split(".")[0]] = scheduler.step(
            given["model_output"], timestep, given["sample"]
        ).prev_sample.dtype
    assert dtypes == {"genfuse": torch.float32, "diffusers": torch.float16}
