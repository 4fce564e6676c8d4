"""What a unit's norm comes to, for the CUDA convolution: a few numbers a channel, by PyTorch's ops in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings
from genfuse_kernels.norm_stats.aten_impl import norm_stats


def norm_table(x: Tensor, skip: Tensor | None, s: Settings, tensors: NormTensors) -> Tensor | None:
    """(N, C, 4) float32, n = (x − mean)·factor + offset: mean, factor, offset, 0; None where n is x.

    x − mean is formed first, so that a large mean cancels nothing.
    """
    weight, bias = tensors.get("norm_weight"), tensors.get("norm_bias")
    film_scale, film_shift = tensors.get("film_scale"), tensors.get("film_shift")
    if s.norm == "none" and weight is None and bias is None and film_scale is None:
        return None
    batch, channels = x.shape[0], x.shape[1] + (0 if skip is None else skip.shape[1])
    mean, factor = torch.zeros(2, batch, channels, dtype=torch.float64, device=x.device)
    factor = factor + 1
    if s.norm != "none":
        mean, variance = _moments(x, skip, s, tensors)
        rounded = variance.float()  # NaN, and not 0, where the squares have left float32
        factor = torch.where(rounded.isinf(), torch.nan, torch.rsqrt(variance + s.eps)).expand(
            batch, channels
        )
    offset = torch.zeros_like(factor)
    if weight is not None:
        factor = factor * weight
    if bias is not None:
        offset = offset + bias
    if film_scale is not None and film_shift is not None:
        factor, offset = factor * (1 + film_scale.double()), offset * (1 + film_scale.double()) + film_shift
    table = torch.zeros((batch, channels, 4), dtype=torch.float32, device=x.device)
    table[..., 0], table[..., 1], table[..., 2] = mean, factor, offset
    return table


def _moments(x: Tensor, skip: Tensor | None, s: Settings, tensors: NormTensors) -> tuple[Tensor, Tensor]:
    """Mean and variance that normalise each channel, float64, (N, C) or (C,)."""
    mean, variance = tensors.get("running_mean"), tensors.get("running_var")
    if mean is not None and variance is not None:
        return mean.double(), variance.double()
    given = tensors.get("stats")
    stats = (_measured(x, skip) if given is None else given).double()
    batch, channels = stats.shape[:2]
    if s.norm == "batch":
        return _merged(stats, 0)
    groups = {"instance": channels, "layer": 1}.get(s.norm, s.num_groups)
    mean, variance = _merged(stats.reshape(batch, groups, channels // groups, 2), 2)
    size = channels // groups
    return mean.repeat_interleave(size, 1), variance.repeat_interleave(size, 1)


def _merged(stats: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    mean = stats[..., 0].mean(axis, keepdim=True)
    variance = (stats[..., 1] + (stats[..., 0] - mean).square()).mean(axis)
    return mean.squeeze(axis), variance


def _measured(x: Tensor, skip: Tensor | None) -> Tensor:
    found = []
    for part in (x,) if skip is None else (x, skip):
        found.append(torch.empty((*part.shape[:2], 2), dtype=torch.float32, device=x.device))
        norm_stats(found[-1], part)
    return found[0] if len(found) == 1 else torch.cat(found, 1)
