"""`leaky_relu_tangent`: the derivative of a ReLU or LeakyReLU along a tangent, as gradient penalties need it."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.library import LIBRARY, define, fake, needs_dispatcher, needs_gradient
from genfuse.ops.memory import empty_like
from genfuse_kernels.leaky_relu_tangent import reference


def leaky_relu_tangent(
    tangent: Tensor, mask: Tensor, negative_slope: float = 0.01, positive_slope: float = 1.0
) -> Tensor:
    """The tangent times positive_slope where mask is, else times negative_slope.

    tangent         (N, ...) float32, bfloat16 or float16, or any floating dtype on `aten`
    mask            bool, of its shape: where what was activated was positive
    negative_slope  finite, 0 of a ReLU
    positive_slope  finite; a gain behind the activation is in both

    Returns a tensor like the tangent, differentiable in it by PyTorch's own kernels. ValueError or TypeError, naming
    the argument.
    """
    check.sample("tangent", tangent)
    check.dense("mask", mask, "like tangent, bool")
    if mask.dtype != torch.bool:
        raise TypeError(f"mask has dtype {mask.dtype}, expected torch.bool")
    if mask.shape != tangent.shape:
        raise ValueError(f"mask has shape {tuple(mask.shape)}, expected {tuple(tangent.shape)} as tangent")
    check.same_device("mask", mask, tangent, "tangent")
    check.finite("negative_slope", negative_slope)
    check.finite("positive_slope", positive_slope)
    if not needs_dispatcher(tangent, mask):
        return _leaky_relu_tangent(tangent, mask, negative_slope, positive_slope)
    out: Tensor = torch.ops.genfuse.leaky_relu_tangent(tangent, mask, negative_slope, positive_slope)
    return out


# --- registration ---

define(
    "leaky_relu_tangent(Tensor tangent, Tensor mask, float negative_slope, float positive_slope=1.0) -> Tensor"
)


@torch.library.impl(LIBRARY, "leaky_relu_tangent", "CPU")
@torch.library.impl(LIBRARY, "leaky_relu_tangent", "CUDA")
def _leaky_relu_tangent(
    tangent: Tensor, mask: Tensor, negative_slope: float, positive_slope: float = 1.0
) -> Tensor:
    out = empty_like(tangent)
    dispatch.select("leaky_relu_tangent", tangent.device, tangent.dtype)(
        out, tangent, mask, negative_slope, positive_slope
    )
    return out


@fake("leaky_relu_tangent")
def _fake(tangent: Tensor, *_: object) -> Tensor:
    return torch.empty_like(tangent)


@torch.library.impl(LIBRARY, "leaky_relu_tangent", "Autograd")
def _autograd(tangent: Tensor, mask: Tensor, negative_slope: float, positive_slope: float = 1.0) -> Tensor:
    if needs_gradient(tangent):
        dispatch.select("leaky_relu_tangent", tangent.device, tangent.dtype, gradients=True)
        return reference.leaky_relu_tangent(tangent, mask, negative_slope, positive_slope)
    with torch._C._AutoDispatchBelowAutograd():
        out: Tensor = torch.ops.genfuse.leaky_relu_tangent(tangent, mask, negative_slope, positive_slope)
    return out
