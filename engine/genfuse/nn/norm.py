"""The norm of a unit, as the ordinary module that holds its parameters."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from genfuse.ops import check
from genfuse.ops.conv_norm_act import Settings
from genfuse_kernels.conv_norm_act.settings import Norm, NormTensors


def make_norm(norm: Norm, channels: int, num_groups: int, eps: float, affine: bool) -> nn.Module:
    """PyTorch's module for one of the op's norms; `nn.Identity`, which has no state, for none.

    Those per pixel normalise the last axis where they run themselves, C only inside a unit.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels, eps, affine=affine)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, eps, affine=affine)
    if norm in ("group", "layer"):
        return nn.GroupNorm(num_groups if norm == "group" else 1, channels, eps, affine)
    if norm == "layer_pixel":
        return nn.LayerNorm(channels, eps, affine)
    if norm == "rms_pixel":
        return nn.RMSNorm(channels, eps, affine)
    return nn.Identity()


def prologue(
    norm: nn.Module, settings: Settings, x: Tensor, skip: Tensor | None = None
) -> tuple[Tensor, Tensor | None, Settings, NormTensors]:
    """x, skip, settings and norm tensors for a unit that normalises x and skip.

    In training, batch norm is PyTorch's own, which updates its running statistics: then x comes normalised.
    """
    if not isinstance(norm, nn.BatchNorm2d):
        own = {"norm_weight": getattr(norm, "weight", None), "norm_bias": getattr(norm, "bias", None)}
        return x, skip, settings, cast(NormTensors, own)
    if norm.training:
        check.sample("x", x)
        if skip is not None:
            check.dense("skip", skip, "(N, C, H, W)")
        joined = x if skip is None else torch.cat([x, skip], 1)
        return norm(joined), None, settings._replace(norm="none"), {}
    tensors: NormTensors = {
        "norm_weight": norm.weight,
        "norm_bias": norm.bias,
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
    }
    return x, skip, settings, tensors
