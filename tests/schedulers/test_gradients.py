"""Gradients through a scheduler's steps, beside diffusers' own, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from schedulers.peer import IN_FLOAT32, IN_FLOAT64, both, start

CASES: list[tuple[str, dict[str, Any], dict[str, Any], float]] = [
    ("DDIMScheduler", {"clip_sample": False}, {}, IN_FLOAT64),
    ("DDIMScheduler", {"prediction_type": "v_prediction"}, {"eta": 0.7}, IN_FLOAT64),
    ("DDPMScheduler", {"clip_sample": True}, {}, IN_FLOAT64),
    ("DPMSolverMultistepScheduler", {}, {}, IN_FLOAT64),
    ("DPMSolverMultistepScheduler", {"solver_order": 3, "prediction_type": "v_prediction"}, {}, IN_FLOAT64),
    ("UniPCMultistepScheduler", {}, {}, IN_FLOAT64),
    ("PNDMScheduler", {}, {}, IN_FLOAT64),
    ("HeunDiscreteScheduler", {}, {}, IN_FLOAT64),
    ("EulerDiscreteScheduler", {}, {}, IN_FLOAT32),
]


def gradients(scheduler: Any, options: dict[str, Any], stochastic: bool) -> tuple[Tensor, Tensor]:
    """Of the last sample's size, by the first sample and by a weight that every model output has a share of."""
    x = first = start().requires_grad_()
    weight = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    if stochastic:
        options = {**options, "generator": torch.Generator().manual_seed(5)}
    for timestep in scheduler.timesteps:
        output = torch.tanh(weight * scheduler.scale_model_input(x, timestep) + float(timestep) / 1000)
        x = scheduler.step(output, timestep, x, **options).prev_sample
    by_x, by_weight = torch.autograd.grad(x.square().sum(), (first, weight))
    return by_x, by_weight


@pytest.mark.parametrize(("name", "config", "options", "tolerance"), CASES, ids=str)
def test_are_the_peers(name: str, config: dict[str, Any], options: dict[str, Any], tolerance: float) -> None:
    theirs, ours = both(name, config, 6)
    stochastic = bool(options) or name == "DDPMScheduler"
    expected, got = (gradients(scheduler, options, stochastic) for scheduler in (theirs, ours))
    for mine, peers in zip(got, expected, strict=True):
        assert (mine - peers).abs().max() <= tolerance * peers.abs().max()
        assert peers.abs().max() > 0


def test_the_predicted_x0_has_one_too() -> None:
    theirs, ours = both("DDIMScheduler", {}, 6)
    gradient = []
    for scheduler in (theirs, ours):
        x, output = start().requires_grad_(), (0.5 * start().flip(3)).requires_grad_()
        timestep = scheduler.timesteps[2]
        original = scheduler.step(output, timestep, x).pred_original_sample
        gradient.append(torch.autograd.grad(original.square().sum(), (x, output)))
    torch.testing.assert_close(gradient[1], gradient[0], rtol=1e-9, atol=1e-9)
