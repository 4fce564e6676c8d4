"""`conv_norm_act` in plain PyTorch: differentiable, any floating dtype, the definition of the op."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels.conv_norm_act.settings import Activation, NormTensors, Settings, UnitTensors
from genfuse_kernels.philox_normal.reference import philox_words
from genfuse_kernels.philox_normal.spec import STREAM_DROPOUT

if TYPE_CHECKING:
    from typing_extensions import Unpack

Normalise = Callable[
    [Tensor, Settings, Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None], Tensor
]
Drop = Callable[[Tensor, Settings, Tensor], Tensor]


def conv_norm_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: Settings,
    *,
    normalise: Normalise | None = None,
    drop: Drop | None = None,
    **tensors: Unpack[UnitTensors],
) -> Tensor:
    """The unit's output (N, K, H', W'); see `spec`. `normalise` and `drop` may stand in for the definition's."""
    skip, shift = tensors.get("skip"), tensors.get("shift")
    h = read(_joined(x, skip), settings, normalise, drop, tensors)
    if settings.upsample != (1, 1):
        factors = (float(settings.upsample[0]), float(settings.upsample[1]))
        h = F.interpolate(h, scale_factor=factors, mode="nearest")
    y = _convolved(h, _kernel(weight), bias, settings)
    residual = _projected(tensors)
    return written(y if shift is None else y + shift[:, :, None, None], settings, residual)


def read(
    x: Tensor, s: Settings, normalise: Normalise | None, drop: Drop | None, tensors: NormTensors
) -> Tensor:
    """x normalised, activated and masked: what comes before a convolution."""
    h = (normalise or normalised)(
        x,
        s,
        tensors.get("norm_weight"),
        tensors.get("norm_bias"),
        tensors.get("running_mean"),
        tensors.get("running_var"),
        tensors.get("stats"),
    )
    film_scale, film_shift = tensors.get("film_scale"), tensors.get("film_shift")
    if film_scale is not None and film_shift is not None:
        h = h * (1 + film_scale[:, :, None, None]) + film_shift[:, :, None, None]
    h = activated(h, s.activation, s.negative_slope)
    seeds = tensors.get("seeds")
    return h if s.dropout == 0 or seeds is None else (drop or dropped)(h, s, seeds)


def dropped(h: Tensor, s: Settings, seeds: Tensor) -> Tensor:
    """h times 1/(1 − p) where its uniform number reaches p = s.dropout, times 0 elsewhere."""
    numel = math.prod(h.shape[1:])
    words = philox_words(seeds, numel, torch.full_like(seeds, s.dropout_stream), STREAM_DROPOUT)
    uniform = ((words[:, :numel] >> 9).to(torch.float64) + 0.5) * 2.0**-23
    kept = (uniform >= s.dropout).reshape(h.shape)
    return h * kept.to(h.dtype) * (1 / (1 - s.dropout))


def written(y: Tensor, s: Settings, residual: Tensor | None) -> Tensor:
    """y with residual, scale, the output's activation and pooling: what comes after it."""
    if residual is not None:
        y = y + residual
    if s.scale != 1:
        y = y * s.scale
    y = activated(y, s.out_activation, s.negative_slope)
    return y if s.pool == (1, 1) else F.avg_pool2d(y, s.pool)


def channel_stats(x: Tensor) -> Tensor:
    """(N, C, 2): mean and biased variance over space."""
    return torch.stack([x.mean((2, 3)), x.var((2, 3), correction=0)], dim=2)


def normalised(
    x: Tensor,
    s: Settings,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    stats: Tensor | None,
) -> Tensor:
    """x minus mean over standard deviation, times weight plus bias; weight, bias (C,) or (N, C)."""
    if s.norm != "none":
        mean, var = _moments(x, s, running_mean, running_var, stats)
        x = (x - mean) * torch.rsqrt(var + s.eps)
    if weight is not None:
        x = x * weight.reshape(-1, x.shape[1], 1, 1)
    return x if bias is None else x + bias.reshape(-1, x.shape[1], 1, 1)


def _moments(
    x: Tensor, s: Settings, running_mean: Tensor | None, running_var: Tensor | None, stats: Tensor | None
) -> tuple[Tensor, Tensor]:
    if s.norm == "rms_pixel":
        return torch.zeros((), dtype=x.dtype, device=x.device), x.square().mean(1, keepdim=True)
    if s.norm == "layer_pixel":
        return x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
    if running_mean is not None and running_var is not None:
        return running_mean[None, :, None, None], running_var[None, :, None, None]
    of_channel = channel_stats(x) if stats is None else stats.to(x.dtype)
    batch, channels = x.shape[:2]
    if s.norm == "batch":
        mean, var = _merged(of_channel, 0)
        return mean.reshape(1, channels, 1, 1), var.reshape(1, channels, 1, 1)
    groups = {"instance": channels, "layer": 1}.get(s.norm, s.num_groups)
    mean, var = _merged(of_channel.reshape(batch, groups, channels // groups, 2), 2)
    size = channels // groups
    return (
        mean.repeat_interleave(size, 1)[:, :, None, None],
        var.repeat_interleave(size, 1)[:, :, None, None],
    )


def _merged(stats: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of sets of equal size, from theirs."""
    mean = stats[..., 0].mean(dim, keepdim=True)
    var = (stats[..., 1] + (stats[..., 0] - mean).square()).mean(dim)
    return mean.squeeze(dim), var


def activated(x: Tensor, activation: Activation, negative_slope: float) -> Tensor:
    """The activation by name."""
    if activation == "leaky_relu":
        return F.leaky_relu(x, negative_slope)
    if activation == "gelu_tanh":
        return F.gelu(x, approximate="tanh")
    plain: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": F.relu,
        "silu": F.silu,
        "gelu": F.gelu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softplus": F.softplus,
    }
    return plain[activation](x) if activation in plain else x


def _joined(x: Tensor, skip: Tensor | None) -> Tensor:
    return x if skip is None else torch.cat([x, skip], dim=1)


def _kernel(weight: Tensor) -> Tensor:
    """A sequence's kernel (K, C, length) with height 1."""
    return weight.unsqueeze(2) if weight.ndim == 3 else weight


def _projected(tensors: UnitTensors) -> Tensor | None:
    """The residual, or its 1x1 convolution."""
    residual, weight = tensors.get("residual"), tensors.get("residual_weight")
    if residual is None or weight is None:
        return residual
    return F.conv2d(_joined(residual, tensors.get("residual_skip")), _kernel(weight).to(residual.dtype))


def _convolved(h: Tensor, weight: Tensor, bias: Tensor | None, s: Settings) -> Tensor:
    weight, bias = weight.to(h.dtype), None if bias is None else bias.to(h.dtype)
    if s.transposed:
        return F.conv_transpose2d(
            h, weight, bias, s.stride, s.padding, s.output_padding, s.groups, s.dilation
        )
    padding = s.padding
    if s.padding_mode != "zeros" or s.extra_padding != (0, 0):
        (top, left), (bottom, right), padding = s.padding, s.extra_padding, (0, 0)
        mode = "constant" if s.padding_mode == "zeros" else s.padding_mode
        h = F.pad(h, (left, left + right, top, top + bottom), mode=mode)
    return F.conv2d(h, weight, bias, s.stride, padding, s.dilation, s.groups)
