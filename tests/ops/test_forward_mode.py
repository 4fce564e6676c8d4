"""Forward-mode derivatives of the units: PyTorch's own kernels carry tangents along, and none is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from genfuse.ops import (
    attention,
    bias_act,
    conv_norm_act,
    leaky_relu_tangent,
    linear,
    norm_act,
    norm_direction,
    norm_stats,
    norm_tangent,
    philox_lerp,
    timestep_embedding,
)
from genfuse_kernels.conv_norm_act.settings import NORMS

F64: dict[str, Any] = {"dtype": torch.float64}
WEIGHT = torch.randn(4, 4, 3, 3, **F64) / 4


def of_norm(norm: str) -> Callable[[Tensor], Any]:
    return lambda x: conv_norm_act(x, WEIGHT, norm=norm, num_groups=2, activation="silu", padding=1)  # type: ignore[arg-type]


FUNCTIONS: dict[str, tuple[Callable[[Tensor], Any], tuple[int, ...]]] = {
    **{f"unit {norm}": (of_norm(norm), (2, 4, 5, 6)) for norm in NORMS},
    "norm_act": (lambda x: norm_act(x, norm="layer", activation="gelu"), (2, 4, 5, 6)),
    "norm_stats": (norm_stats, (2, 4, 5, 6)),
    "leaky_relu_tangent": (lambda x: leaky_relu_tangent(x.sin(), x > 0.5), (6, 8)),
    "bias_act": (lambda x: bias_act(x, x[0, 0], activation="elu", dim=-1, clamp=0.8), (2, 4, 5)),
    "norm_direction": (lambda x: norm_direction(x)[1], (3, 8)),
    "norm_tangent": (lambda x: norm_tangent(x, x.sin(), WEIGHT[:3, :2, 0, 0]), (6, 8)),
    "philox_lerp": (lambda x: philox_lerp(x.sin(), x, 5), (3, 8)),
    "linear": (lambda x: linear(x, WEIGHT[:, :, 0, 0], activation="silu"), (5, 4)),
    "attention": (lambda x: attention(x, x, x), (1, 2, 5, 4)),
    "timestep_embedding": (lambda t: timestep_embedding(t, 8), (3,)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tangents_are_the_differences(name: str) -> None:
    function, shape = FUNCTIONS[name]
    x, direction, step = torch.rand(shape, **F64), torch.randn(shape, **F64), 1e-6
    want = (function(x + step * direction) - function(x - step * direction)) / (2 * step)
    tangents = [torch.func.jvp(function, (x,), (direction,))[1]]
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients), forward_ad.dual_level():
            tangents.append(forward_ad.unpack_dual(function(forward_ad.make_dual(x, direction))).tangent)
    for tangent in tangents:
        assert tangent is not None and torch.allclose(tangent, want, atol=1e-6)
        assert want.abs().max() > 1e-3


def test_the_weights_tangent_too() -> None:
    x, direction = torch.randn(2, 4, 5, 6), torch.randn(4, 4, 3, 3)
    got = torch.func.jvp(lambda w: conv_norm_act(x, w, activation="relu"), (WEIGHT.float(),), (direction,))[1]
    assert torch.allclose(got, torch.nn.functional.conv2d(x.relu(), direction), atol=1e-5)


def test_plain_calls_inside_a_level_stay_kernels() -> None:
    x = torch.randn(2, 4, 5, 6)
    with forward_ad.dual_level():
        inside = conv_norm_act(x, WEIGHT.float(), padding=1)
    assert torch.equal(inside, conv_norm_act(x, WEIGHT.float(), padding=1))
