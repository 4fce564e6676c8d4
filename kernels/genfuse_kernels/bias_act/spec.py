"""The contract of `bias_act` (Karras et al. 2020, arXiv:1912.04958; stylegan3's, with more before it).

    launch(out, x, bias, scale, noise, settings)

With s = settings, element by element:

    v   = x·scale + noise + bias         each where given
    out = s.activation(v)·s.gain         within ±s.clamp, where given

    x, out  any shape and strides, alike; float32 | bfloat16 | float16, any floating dtype on `aten`; out may be x
    bias    (C,), C = x.shape[s.dim]
    scale   (N, C), of x (N, C, ...) with s.dim = 1
    noise   (N, 1, ...) or (1, 1, ...), as x (N, C, ...), likewise

Small tensors are in x's dtype or float32. Half precision is storage: it is read in float32, and rounds once.

The derivative is 0 where the result is ±clamp. At a kink it is the left one. It needs v, but of ReLU, LeakyReLU with a
positive slope and no activation the sign of the result tells it: a backward pass keeps the result of these, which the
next layer keeps anyway, and x of the others and where scale is given. So results that round to 0 or to the clamp count
as such.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

Activation = Literal[
    "none",
    "relu",
    "leaky_relu",
    "silu",
    "gelu",
    "gelu_tanh",
    "tanh",
    "sigmoid",
    "softplus",
    "elu",
    "selu",
]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
"""Those of `conv_norm_act`, and two more, by their numbers in csrc/bias_act/params.h."""


class Settings(NamedTuple):
    """Numbers and names of a call.

    dim     the axis of the channels, 0 or more
    clamp   0 or more; None: no bound
    """

    dim: int = 1
    activation: Activation = "none"
    negative_slope: float = 0.2
    gain: float = 1.0
    clamp: float | None = None


class Layout(NamedTuple):
    """Dense memory of x: (samples, channels, pixels), or (samples, pixels, channels)."""

    samples: int
    channels: int
    pixels: int
    channels_last: bool


def layout(x: Tensor, dim: int, per_sample: bool) -> Layout | None:
    """How the kernels see x; None where they need a copy of it in PyTorch's own order.

    per_sample  whether the first axis has to be the outermost in memory
    """
    count, channels = x.numel(), x.shape[dim]
    if per_sample and count:
        pixels = count // (x.shape[0] * channels)
        if x.is_contiguous():
            return Layout(x.shape[0], channels, pixels, False)
        last = x.ndim in (4, 5) and x.is_contiguous(
            memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        )
        return Layout(x.shape[0], channels, pixels, True) if last else None
    # Gaps, or elements that share memory.
    if not x.is_contiguous() and x.stride() != torch.empty_like(x, device="meta").stride():
        return None
    step = x.stride(dim) if channels > 1 else max(count, 1)
    if step == 1:
        return Layout(1, channels, count // max(channels, 1), True)
    return Layout(count // max(channels * step, 1), channels, step, False)


def sign_tells(settings: Settings) -> bool:
    """Whether the derivative follows from the sign of the result."""
    if settings.activation == "leaky_relu":
        return settings.negative_slope > 0
    return settings.activation in ("none", "relu")


def stored(settings: Settings, dtype: torch.dtype) -> Settings:
    """With the clamp as results hold it."""
    if settings.clamp is None:
        return settings
    return settings._replace(clamp=float(torch.tensor(settings.clamp, dtype=dtype, device="cpu")))


_STEEPEST = 1.76
"""Of all derivatives; of slopes up to that."""


def tolerance(dtype: torch.dtype) -> tuple[float, float]:
    """Error allowed relative to |gain|·max(1, |x·scale| + |noise| + |bias|), and relative to |out|.

    An activation is off by 3e-7·max(1, |v|); product and sums before it round three times, which the derivative
    carries on. Slopes beyond 1.76 carry more: times their size.
    """
    of_value = 3e-7 + 3.0 * _STEEPEST * UNIT_ROUNDOFF[torch.float32]
    return of_value, 2.0 * UNIT_ROUNDOFF[torch.float32] + UNIT_ROUNDOFF[dtype]


def gradient_tolerance(dtype: torch.dtype) -> tuple[float, float]:
    """Error allowed relative to |gradient·gain·scale|·max(1, |x·scale| + |noise| + |bias|), and to the result.

    A derivative is off by 4e-7, times 1.76 of SELU, beside what v is off by: second derivatives are 1.76 at most.
    """
    roundoff = UNIT_ROUNDOFF[torch.float32]
    return _STEEPEST * (4e-7 + 3.0 * roundoff), 4.0 * roundoff + UNIT_ROUNDOFF[dtype]


_PIECE = 512


def sum_tolerance(count: int) -> float:
    """Error allowed a gradient of bias or scale relative to the sum of its terms' magnitudes, beside the terms' own.

    Sums run in float32 for 512 terms at most and go on in double: four standard deviations.
    """
    return (4.0 * math.sqrt(min(count, _PIECE)) + 4.0) * UNIT_ROUNDOFF[torch.float32]


def bytes_moved(count: int, itemsize: int, gradient: bool = False) -> int:
    """x once, out once; of a gradient what was kept, the result's gradient and x's, once each."""
    return count * itemsize * (3 if gradient else 2)
