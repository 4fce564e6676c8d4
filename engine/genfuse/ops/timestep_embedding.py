"""`timestep_embedding`: sines and cosines of a timestep."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.library import LIBRARY, define, fake, needs_dispatcher, needs_gradient
from genfuse.ops.memory import empty
from genfuse_kernels.timestep_embedding import reference

_MOST_CHANNELS = 2**30


def timestep_embedding(
    t: Tensor,
    channels: int,
    *,
    flip_sin_to_cos: bool = True,
    downscale_freq_shift: float = 0.0,
    scale: float = 1.0,
    max_period: float = 10_000.0,
) -> Tensor:
    """Sines and cosines of t at geometrically spaced frequencies (Vaswani et al. 2017, section 3.5).

    t                      (N,) floating
    channels               width of the result; an odd one ends with a zero
    flip_sin_to_cos        cosines first
    downscale_freq_shift   frequency i of half is max_period^(−i/(half − shift)); less than half
    scale                  of t
    max_period             longest wavelength over 2π, positive

    Returns (N, channels) in t's dtype, from float64 angles: a sample's bits depend on its own t alone. Differentiable
    in t by PyTorch's own kernels. The names are diffusers'; its defaults are False and 1. ValueError or TypeError,
    naming the argument.
    """
    check.sample("t", t)
    if t.ndim != 1:
        raise ValueError(f"t has shape {tuple(t.shape)}, expected (N,): a timestep a sample")
    check.count("channels", channels, 2)
    if channels > _MOST_CHANNELS:
        raise ValueError(f"channels is {channels}, expected at most {_MOST_CHANNELS}")
    check.flag("flip_sin_to_cos", flip_sin_to_cos)
    check.finite("downscale_freq_shift", downscale_freq_shift)
    check.finite("scale", scale)
    check.finite("max_period", max_period)
    if max_period <= 0:
        raise ValueError(f"max_period is {max_period}, expected a positive number")
    if downscale_freq_shift >= channels // 2:
        raise ValueError(
            f"downscale_freq_shift is {downscale_freq_shift}, expected less than half the channels, {channels // 2}"
        )
    call = _timestep_embedding if not needs_dispatcher(t) else torch.ops.genfuse.timestep_embedding
    out: Tensor = call(t, channels, flip_sin_to_cos, downscale_freq_shift, scale, max_period)
    return out


define(
    "timestep_embedding(Tensor t, int channels, bool flip_sin_to_cos, float downscale_freq_shift, float scale, "
    "float max_period) -> Tensor"
)


@torch.library.impl(LIBRARY, "timestep_embedding", "CPU")
@torch.library.impl(LIBRARY, "timestep_embedding", "CUDA")
def _timestep_embedding(
    t: Tensor,
    channels: int,
    flip_sin_to_cos: bool,
    downscale_freq_shift: float,
    scale: float,
    max_period: float,
) -> Tensor:
    out = empty(t, (t.shape[0], channels), t.dtype)
    launch = dispatch.select("timestep_embedding", t.device, t.dtype)
    launch(out, t, flip_sin_to_cos, downscale_freq_shift, scale, max_period)
    return out


@fake("timestep_embedding")
def _fake(
    t: Tensor,
    channels: int,
    flip_sin_to_cos: bool,
    downscale_freq_shift: float,
    scale: float,
    max_period: float,
) -> Tensor:
    return t.new_empty((t.shape[0], channels))


@torch.library.impl(LIBRARY, "timestep_embedding", "Autograd")
def _autograd(
    t: Tensor,
    channels: int,
    flip_sin_to_cos: bool,
    downscale_freq_shift: float,
    scale: float,
    max_period: float,
) -> Tensor:
    arguments = (t, channels, flip_sin_to_cos, downscale_freq_shift, scale, max_period)
    if needs_gradient(t):
        dispatch.select("timestep_embedding", t.device, t.dtype, gradients=True)
        return reference.timestep_embedding(*arguments)
    with torch._C._AutoDispatchBelowAutograd():
        out: Tensor = torch.ops.genfuse.timestep_embedding(*arguments)
    return out
