"""Batch norm in inference behind a convolution: its factors in the weights, its offsets in the bias."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from genfuse.ops.conv_norm_act import Settings
from genfuse_kernels.common.packed_weights import derived

BatchNorm = tuple[float, Tensor | None, Tensor | None, Tensor, Tensor]
"""eps, weight, bias, running mean and variance."""


def folded(weight: Tensor, bias: Tensor | None, settings: Settings, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that norm(convolution(x)) is, in float32; float64 where the weight is.

    Made once; a change of any of the tensors in place is noticed (`genfuse_kernels.common.packed_weights`).
    """
    eps, *tensors = norm
    given = tuple(t for t in (weight, bias, *tensors) if t is not None)
    present = tuple(t is not None for t in (bias, *tensors))
    with _disable_current_modes():  # a plan that is being recorded keeps the result, not the way to it
        return derived(given, (settings, eps, present), lambda: _fold(weight, bias, settings, norm))


def _fold(weight: Tensor, bias: Tensor | None, settings: Settings, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    eps, norm_weight, norm_bias, mean, var = norm
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    factor = torch.rsqrt(var.double() + eps)
    if norm_weight is not None:
        factor = factor * norm_weight.double()
    offset = -mean.double() if bias is None else bias.double() - mean.double()
    offset = offset * factor
    if norm_bias is not None:
        offset = offset + norm_bias.double()
    groups, kernel = settings.groups, weight.shape[2:]
    if settings.transposed:  # (C, K/groups, ...): each group of inputs has outputs of its own
        by_group = weight.double().reshape(groups, -1, weight.shape[1], *kernel)
        product = (by_group * factor.view(groups, 1, -1, *(1 for _ in kernel))).reshape(weight.shape)
    else:
        product = weight.double() * factor.view(-1, 1, *(1 for _ in kernel))
    return product.to(dtype), offset.to(dtype)
