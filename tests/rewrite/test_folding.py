"""Batch norm in inference goes into the weights of the convolution before it, of pictures and sequences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import genfuse

CONVOLUTIONS: dict[str, tuple[Any, int, int]] = {
    "sequence": (nn.Conv1d(16, 16, 3, groups=4), 16, 1),
    "sequence up": (nn.ConvTranspose1d(16, 16, 4, 2, 1), 16, 1),
    "sequence up in groups": (nn.ConvTranspose1d(16, 8, 4, 2, 1, groups=4), 8, 1),
    "picture": (nn.Conv2d(16, 16, 3, bias=False), 16, 2),
    "picture up in groups": (nn.ConvTranspose2d(16, 8, 4, 2, 1, groups=4), 8, 2),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_batch_norm_is_folded(name: str) -> None:
    convolution, channels, axes = CONVOLUTIONS[name]
    norm: Any = (nn.BatchNorm1d, nn.BatchNorm2d)[axes - 1](channels)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    for parameter in norm.parameters():
        parameter.data.normal_()
    model = nn.Sequential(convolution, norm).eval()
    optimized, x = genfuse.optimize(model), torch.randn(2, 16, *(20,) * axes)
    with torch.no_grad():
        want = model(x)
        assert (optimized(x) - want).abs().max() <= 1e-5 * want.abs().max()
    (graph,) = optimized.report().graphs  # type: ignore[operator]
    assert "batch norm" in " ".join(graph.fused[0].steps), graph.fused
