"""The norm of a unit, as the ordinary module that holds its parameters."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from genfuse.names import check_name
from genfuse.ops.conv_norm_act import Settings

Norm = Literal["none", "batch", "instance", "group"]

NormTensors = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""norm_weight, norm_bias, running_mean, running_var."""


def make_norm(norm: Norm, channels: int, num_groups: int, affine: bool) -> nn.Module:
    """PyTorch's module for this norm; `nn.Identity`, which has no state, for none. ValueError for others."""
    check_name("norm", norm, get_args(Norm))
    if norm == "batch":
        return nn.BatchNorm2d(channels, affine=affine)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=affine)
    return nn.GroupNorm(num_groups, channels, affine=affine) if norm == "group" else nn.Identity()


def prologue(
    norm: nn.Module, settings: Settings, x: Tensor, skip: Tensor | None = None
) -> tuple[Tensor, Tensor | None, Settings, NormTensors]:
    """x, skip, settings and norm tensors for a unit that normalises x and skip.

    In training, batch norm is PyTorch's own, which updates its running statistics: then x comes normalised.
    """
    if not isinstance(norm, nn.BatchNorm2d):
        return x, skip, settings, (getattr(norm, "weight", None), getattr(norm, "bias", None), None, None)
    if norm.training:
        joined = x if skip is None else torch.cat([x, skip], 1)
        return norm(joined), None, settings._replace(norm="none"), (None, None, None, None)
    return x, skip, settings, (norm.weight, norm.bias, norm.running_mean, norm.running_var)
