"""Where genfuse's classes and diffusers' differ on purpose, or once differed by accident."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

from schedulers.peer import NAMES, both, difference, network, ours, peer_class, start, trajectory


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


FROM_THE_SAMPLE_GIVEN = [
    ("DPMSolverSinglestepScheduler", {}),
    ("PNDMScheduler", {}),
    ("PNDMScheduler", {"skip_prk_steps": True}),
    ("SASolverScheduler", {}),
    ("UniPCMultistepScheduler", {}),
]
"""What diffusers' class starts from another sample than the one its step is given, and ours does not."""
AS_DIFFUSERS = [
    (name, {}) for name in NAMES if name not in {other for other, _ in FROM_THE_SAMPLE_GIVEN}
]  # fmt: skip


def edited(scheduler: Any, edit: str, **options: Any) -> Tensor:
    """(steps + 1, *SHAPE): a trajectory whose caller changes the sample: "grown" by a tenth, or "scaled" before."""
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = torch.Generator().manual_seed(3)
    x = start() * getattr(scheduler, "init_noise_sigma", 1.0)
    visited = [x]
    for timestep in scheduler.timesteps:
        scales = hasattr(scheduler, "scale_model_input")
        seen = scheduler.scale_model_input(x, timestep) if scales else x
        output = network(seen, timestep)
        x = scheduler.step(output, timestep, seen if edit == "scaled" else x, **options).prev_sample
        x = x * 1.1 if edit == "grown" else x
        visited.append(x.double())
    return torch.stack(visited)


def edited_difference(name: str, config: dict[str, Any], edit: str, **options: Any) -> float:
    peer_class(name)
    theirs, own = both(name, config, 6)
    for scheduler in (theirs, own):
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
    return difference(edited(own, edit, **options), edited(theirs, edit, **options))


@pytest.mark.parametrize("edit", ["grown", "scaled"])
@pytest.mark.parametrize(("name", "config"), AS_DIFFUSERS, ids=str)
def test_samples_that_the_caller_changes(name: str, config: dict[str, Any], edit: str) -> None:
    """diffusers' DiTPipeline hands the scaled sample to step; guidance by gradients, projections, masks change it."""
    assert edited_difference(name, config, edit) < 1e-6


@pytest.mark.parametrize("edit", ["grown", "scaled"])
@pytest.mark.parametrize(
    ("name", "config", "options"),
    [
        ("HeunDiscreteScheduler", {"prediction_type": "v_prediction"}, {}),
        ("HeunDiscreteScheduler", {"clip_sample": True}, {}),
        ("KDPM2DiscreteScheduler", {"prediction_type": "v_prediction"}, {}),
        ("KDPM2AncestralDiscreteScheduler", {"prediction_type": "v_prediction"}, {}),
        ("FlowMatchHeunDiscreteScheduler", {}, {"s_churn": 2.0}),
    ],
)
def test_a_second_call_reads_its_output_with_the_sample_it_is_given(
    name: str, config: dict[str, Any], options: dict[str, Any], edit: str
) -> None:
    assert edited_difference(name, config, edit, **options) < 1e-6


@pytest.mark.parametrize(("name", "config"), FROM_THE_SAMPLE_GIVEN, ids=str)
def test_solvers_that_go_on_from_the_sample_they_are_given(name: str, config: dict[str, Any]) -> None:
    """A row stores one tensor: these need it for an output, and find the sample before it from the one given."""
    assert edited_difference(name, config, "not") < 1e-6
    assert edited_difference(name, config, "grown") > 1e-2


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
