"""The gradients of a unit by the Triton kernels, from its raw input, its statistics and nothing else that it made."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors
from genfuse_kernels.conv_norm_act.triton_data_gradient import data_gradient
from genfuse_kernels.conv_norm_act.triton_norm_gradient import read_gradient
from genfuse_kernels.conv_norm_act.triton_weight_gradient import weight_gradient
from genfuse_kernels.norm_stats.triton_impl import norm_stats

READ = ("x", "skip", "norm_weight", "norm_bias", "film_scale", "film_shift", "stats")
"""What the prologue's gradient is of."""


def conv_norm_act_gradient(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    settings: Settings,
    tensors: UnitTensors,
    *,
    through_stats: bool,
    needs: Collection[str],
) -> dict[str, Tensor]:
    """The gradients that `needs` names, each like what it is of, from that of the unit's output.

    settings       without an output's activation and without pooling
    tensors        as in the forward, with the statistics that its norm measured, if it did
    through_stats  whether these are x's and skip's own, so that their gradient goes on to these
    """
    if settings.scale != 1:
        gradient = gradient * settings.scale
    found: dict[str, Tensor] = {}
    if "residual" in needs and tensors.get("residual_weight") is None:
        found["residual"] = gradient
    if not {"bias", "shift"}.isdisjoint(needs):
        found |= _sums(gradient, needs)
    found |= _projected(gradient, tensors, settings, needs)
    if "weight" in needs:
        found["weight"] = weight_gradient(gradient, x, weight, settings, **tensors).to(weight.dtype)
    of_read = [name for name in READ if name in needs]
    if of_read:
        of_input = data_gradient(gradient, weight, settings, (x.shape[2], x.shape[3]))
        found |= read_gradient(of_input, x, settings, tensors, through_stats=through_stats, needs=of_read)
    return found


def _sums(gradient: Tensor, needs: Collection[str]) -> dict[str, Tensor]:
    """Of shift, (N, K), and of the bias."""
    stats = torch.empty((*gradient.shape[:2], 2), dtype=torch.float32, device=gradient.device)
    norm_stats(stats, gradient)
    sums = stats[:, :, 0] * float(gradient.shape[2] * gradient.shape[3])
    return {name: sums if name == "shift" else sums.sum(0) for name in ("bias", "shift") if name in needs}


def _projected(
    gradient: Tensor, tensors: UnitTensors, settings: Settings, needs: Collection[str]
) -> dict[str, Tensor]:
    """Of a residual that has a 1x1 convolution of its own, and of its weights."""
    weight, residual, skip = (
        tensors.get("residual_weight"),
        tensors.get("residual"),
        tensors.get("residual_skip"),
    )
    if weight is None or residual is None:
        return {}
    plain = Settings(accuracy=settings.accuracy)
    found: dict[str, Tensor] = {}
    if "residual_weight" in needs:
        made = weight_gradient(gradient, residual, weight, plain, skip=skip)
        found["residual_weight"] = made.to(weight.dtype)
    if not {"residual", "residual_skip"}.isdisjoint(needs):
        whole = data_gradient(gradient, weight, plain, (residual.shape[2], residual.shape[3]))
        own = residual.shape[1]
        parts = {"residual": whole[:, :own], "residual_skip": whole[:, own:]}
        found |= {name: part for name, part in parts.items() if name in needs}
    return found
