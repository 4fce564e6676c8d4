"""Autocast: images in half precision, weights and their gradients in float32, errors no larger than eager's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse.nn import ConvNormAct
from genfuse.ops import linear


def block() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.GroupNorm(8, 32),
        nn.SiLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 16, 4, 2, 1),
    )


def units(model: nn.Sequential) -> nn.Sequential:
    """The same of genfuse's layers, with the model's parameters."""
    parts: Any = model
    layers = [
        ConvNormAct(3, 32, norm="none", activation="none"),
        ConvNormAct(32, 32, num_groups=8),
        ConvNormAct(32, 16, 4, stride=2, padding=1, norm="batch", activation="relu"),
    ]
    for layer, conv in zip(layers, (0, 3, 6), strict=True):
        layer.conv = copy.deepcopy(parts[conv])
    layers[1].norm, layers[2].norm = copy.deepcopy(parts[1]), copy.deepcopy(parts[4])
    return nn.Sequential(*layers)


def gradients(
    network: nn.Module, model: nn.Module, x: Tensor, autocast: bool
) -> dict[tuple[int, ...], Tensor]:
    """By shape: that of the first convolution's bias is only once there."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = network(x)
    assert y.dtype == (torch.bfloat16 if autocast else x.dtype)
    y.double().square().mean().backward()
    weights = [p for p in model.parameters() if p.ndim == 4]
    assert all(p.grad is not None and p.grad.dtype == p.dtype for p in model.parameters())
    return {tuple(p.shape): p.grad for p in weights if p.grad is not None}


@pytest.mark.parametrize("how", ["optimize", "nn"])
def test_a_training_step(how: str) -> None:
    torch.manual_seed(0)
    model, x = block(), torch.randn(4, 3, 16, 16)
    exact = gradients(wide := copy.deepcopy(model).double(), wide, x.double(), False)
    eager = gradients(theirs := copy.deepcopy(model), theirs, x, True)
    ours_model = copy.deepcopy(model) if how == "optimize" else units(model)
    network = genfuse.optimize(ours_model) if how == "optimize" else ours_model
    ours = gradients(network, ours_model, x, True)
    for shape, want in exact.items():
        errors = [float((found[shape] - want).square().mean().sqrt()) for found in (ours, eager)]
        assert errors[0] <= 2 * errors[1], shape


def test_inference_and_linear() -> None:
    x, weight = torch.randn(6, 20), torch.randn(9, 20)
    layer = ConvNormAct(16, 16).eval()
    image = torch.randn(2, 16, 9, 9)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, residual=torch.ones(6, 9)).dtype == torch.bfloat16
        y = layer(image, residual=torch.ones(2, 16, 9, 9))
    assert y.dtype == torch.bfloat16
    want = layer(image, residual=torch.ones(2, 16, 9, 9))
    assert (y - want).abs().max() < 0.03 * want.abs().max()
