"""Gradients of what repeats pixels before a convolution: a border that is no zeros, and upsampling."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels.conv_norm_act.settings import PaddingMode, Pair


def summed(gradient: Tensor, factors: Pair) -> Tensor:
    """The sum over the copies that upsampling made of each pixel."""
    if factors == (1, 1):
        return gradient
    return F.avg_pool2d(gradient, factors) * float(factors[0] * factors[1])


def without_border(gradient: Tensor, axis: int, before: int, behind: int, mode: PaddingMode) -> Tensor:
    """The border's gradient added to that of the pixels that it repeats."""
    size = gradient.shape[axis] - before - behind
    inner = gradient.narrow(axis, before, size).clone()
    first, last = gradient.narrow(axis, 0, before), gradient.narrow(axis, before + size, behind)
    if mode == "reflect":
        inner.narrow(axis, 1, before).add_(first.flip(axis))
        inner.narrow(axis, size - 1 - behind, behind).add_(last.flip(axis))
    else:
        inner.narrow(axis, size - before, before).add_(first)
        inner.narrow(axis, 0, behind).add_(last)
    return inner
