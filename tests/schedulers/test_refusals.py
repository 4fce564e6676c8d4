"""What a scheduler does not take: each error names the argument, before anything is changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from schedulers.peer import each, ours, start

NAN = float("nan")
BAD: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("DDIMScheduler", {"beta_start": "a"}, TypeError, "beta_start is 'a', expected a number"),
    (
        "DDIMScheduler",
        {"clip_sample_range": -1.0},
        ValueError,
        "clip_sample_range is -1.0, expected more than 0",
    ),
    ("DDIMScheduler", {"clip_sample_range": NAN}, ValueError, "clip_sample_range is nan, expected a finite"),
    ("DDIMScheduler", {"sample_max_value": 0.5}, ValueError, "sample_max_value is 0.5, expected at least 1"),
    (
        "DDIMScheduler",
        {"dynamic_thresholding_ratio": 0.0},
        ValueError,
        "dynamic_thresholding_ratio is 0.0, exp",
    ),
    (
        "DDIMScheduler",
        {"num_train_timesteps": 10.5},
        TypeError,
        "num_train_timesteps is 10.5, expected an int",
    ),
    (
        "UniPCMultistepScheduler",
        {"disable_corrector": None},
        TypeError,
        "disable_corrector is None, expected",
    ),
    ("SASolverScheduler", {"tau_func": 3}, TypeError, "tau_func is 3, expected a function"),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 0.0}, ValueError, "shift is 0.0, expected more than 0"),
    ("FlowMatchEulerDiscreteScheduler", {"shift": NAN}, ValueError, "shift is nan, expected a finite number"),
    ("DPMSolverMultistepScheduler", {"solver_order": 7}, ValueError, "solver_order is 7, expected 1, 2 or 3"),
    (
        "DPMSolverSinglestepScheduler",
        {"solver_order": 7},
        ValueError,
        "solver_order is 7, expected 1, 2 or 3",
    ),
    ("EDMDPMSolverMultistepScheduler", {"solver_order": 7}, ValueError, "solver_order is 7, expected 1, 2"),
    ("EDMEulerScheduler", {"sigma_min": -1.0}, ValueError, "sigma_min is -1.0, expected more than 0"),
    ("PNDMScheduler", {"skip_prk_steps": "x"}, TypeError, "skip_prk_steps is 'x', expected True or False"),
]


@pytest.mark.parametrize(("name", "config", "error", "message"), BAD, ids=str)
def test_configuration(name: str, config: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        ours(name, **config)


def test_configuration_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "scheduler_config.json").write_text(json.dumps({"beta_start": "a"}))
    with pytest.raises(TypeError, match=r"^beta_start is 'a', expected a number"):
        type(ours("DDIMScheduler")).from_pretrained(tmp_path)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"beta_start": ' + "9" * 5000 + "}"], ids=len)
def test_a_file_that_is_no_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "scheduler_config.json").write_text(text)
    with pytest.raises(OSError, match=r"scheduler_config.json is not valid JSON"):
        type(ours("DDIMScheduler")).from_pretrained(tmp_path)


@each
def test_what_is_no_tensor(name: str) -> None:
    scheduler, x = ours(name), start()
    scheduler.set_timesteps(4)
    timestep = scheduler.timesteps[0]
    with pytest.raises(TypeError, match=r"^model_output is NoneType, expected a tensor \(N, ...\)"):
        scheduler.step(None, timestep, x)
    with pytest.raises(TypeError, match=r"^sample is list, expected a tensor \(N, ...\)"):
        scheduler.step(x, timestep, [x])
    if "variance_type" in scheduler.config:
        scheduler = ours(name, variance_type="learned_range")
        scheduler.set_timesteps(4)
        with pytest.raises(TypeError, match=r"^model_output is NoneType"):
            scheduler.step(None, scheduler.timesteps[0], x)


NODES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        name,
        {"num_train_timesteps": 50},
        {"num_inference_steps": 50},
        r"num_inference_steps is 50: linspace spacing has",
    )
    for name in (
        "DEISMultistepScheduler",
        "DPMSolverMultistepInverseScheduler",
        "DPMSolverMultistepScheduler",
        "SASolverScheduler",
        "UniPCMultistepScheduler",
    )
]
NODES += [
    ("SASolverScheduler", {"num_train_timesteps": 50, "timestep_spacing": "leading"}, {"num_inference_steps": 50},
     r"num_inference_steps is 50: leading spacing has the timestep 0 50 times"),
    ("FlowMatchEulerDiscreteScheduler", {"shift_terminal": 0.1}, {"num_inference_steps": 1},
     r"shift_terminal is 0.1, but the last of 1 levels is 1, expected one below 1: take more steps"),
    ("UniPCMultistepScheduler", {"shift_terminal": 0.1, "use_flow_sigmas": True, "prediction_type": "flow_prediction"},
     {"num_inference_steps": 1}, r"shift_terminal is 0.1, but the last of 1 levels is 1"),
    ("FlowMatchEulerDiscreteScheduler", {}, {"sigmas": [1.0, NAN]}, r"sigmas is \[1.0, nan\], expected finite"),
    ("FlowMatchEulerDiscreteScheduler", {}, {"timesteps": [float("inf")]}, r"timesteps is \[inf\], expected finite"),
    ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}, {"num_inference_steps": 3, "mu": NAN},
     r"mu is nan, expected finite"),
    ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}, {"num_inference_steps": 3, "mu": -1e3},
     r"mu is -1000.0, expected one that gives finite levels"),
    ("CMStochasticIterativeScheduler", {"num_train_timesteps": 1}, {"num_inference_steps": 1},
     r"num_train_timesteps is 1, expected at least 2"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "config", "options", "message"), NODES, ids=str)
def test_nodes_that_no_solver_can_step_over(
    name: str, config: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    scheduler = ours(name, **config)
    before = scheduler.timesteps.clone()
    with pytest.raises(ValueError, match=f"^{message}"):
        scheduler.set_timesteps(**options)
    assert torch.equal(scheduler.timesteps, before) and scheduler.num_inference_steps is None


@pytest.mark.parametrize("name", ["LCMScheduler", "TCDScheduler"])
def test_a_training_of_one_time(name: str) -> None:
    assert ours(name, num_train_timesteps=1, original_inference_steps=1).timesteps.tolist() == [0]


def test_a_shift_set_later() -> None:
    scheduler = ours("FlowMatchEulerDiscreteScheduler")
    with pytest.raises(ValueError, match=r"^shift is 0, expected more than 0"):
        scheduler.set_shift(0)
    assert scheduler.shift == 1.0


def test_the_default_of_disable_corrector_is_saved_as_it_is(tmp_path: Path) -> None:
    scheduler = ours("UniPCMultistepScheduler")
    scheduler.save_config(tmp_path)
    again = type(scheduler).from_pretrained(tmp_path)
    assert scheduler.config.disable_corrector == again.config.disable_corrector == []
    assert torch.equal(scheduler.timesteps, again.timesteps)
