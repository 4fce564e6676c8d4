"""`upfirdn2d`: upsample, pad or crop, filter and downsample images in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.library import (
    LIBRARY,
    OURS,
    define,
    fake,
    gradient_limits,
    needs_dispatcher,
    needs_gradient,
)
from genfuse.ops.memory import empty
from genfuse_kernels.upfirdn2d import reference
from genfuse_kernels.upfirdn2d.spec import filter_size, out_size

Factors = int | Sequence[int]
"""Of both axes, or (x, y)."""


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    up: Factors = 1,
    down: Factors = 1,
    padding: Factors = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Insert zeros, pad, convolve with gain·f and keep every down-th pixel (Karras et al. 2020; names are stylegan3's).

    x            (N, C, H, W) float32, float64, bfloat16 or float16; planar and channels-last without a copy
    f            (height, width), or (taps,) for the outer product with itself, floating; None: 1
    up, down     1 or more, of both axes or (x, y)
    padding      of all sides, (x, y) or (left, right, top, bottom) of the upsampled picture; negative: cut off
    flip_filter  correlate, not convolve
    gain         times the result

    Returns (N, C, (H·up + top + bottom − height) // down + 1, likewise) in x's dtype and memory format, from sums in
    float32. Differentiable to any order in x by the same kernels, in f by PyTorch's own. ValueError or TypeError names
    the argument.
    """
    check.sample("x", x)
    if x.ndim != 4 or min(x.shape[1:]) < 1:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (N, C, H, W) with channels and pixels")
    f = torch.ones((1, 1), dtype=torch.float32, device=x.device) if f is None else _checked_filter(f, x)
    of_up, of_down = axis_factors("up", up), axis_factors("down", down)
    sides = four_sides("padding", padding)
    check.flag("flip_filter", flip_filter)
    check.finite("gain", gain)
    size = out_size(x.shape[2:], filter_size(f), of_up, of_down, sides)
    if min(size) < 1:
        raise ValueError(
            f"f has shape {tuple(f.shape)}, which does not fit x {tuple(x.shape)} with up {of_up} and padding {sides}; "
            "pad more"
        )
    call = torch.ops.genfuse.upfirdn2d if needs_dispatcher(x, f) else _launch
    out: Tensor = call(x, f, of_up, of_down, sides, flip_filter, float(gain))
    return out


def axis_factors(name: str, value: Factors) -> tuple[int, int]:
    """(x, y), each 1 or more."""
    both = (value, value) if isinstance(value, int) else value
    if not isinstance(both, tuple | list) or len(both) != 2:
        raise ValueError(f"{name} is {value!r}, expected a whole number or (x, y)")
    for each in both:
        check.count(name, each)
    return int(both[0]), int(both[1])


def four_sides(name: str, value: Factors) -> tuple[int, int, int, int]:
    """(left, right, top, bottom)."""
    sides = (value,) * 4 if isinstance(value, int) else value
    if not isinstance(sides, tuple | list) or len(sides) not in (2, 4):
        raise ValueError(
            f"{name} is {value!r}, expected a whole number, (x, y) or (left, right, top, bottom)"
        )
    for each in sides:
        check.integer(name, each)
    if len(sides) == 2:
        sides = (sides[0], sides[0], sides[1], sides[1])
    left, right, top, bottom = (int(each) for each in sides)
    return left, right, top, bottom


def upsampling_padding(taps: int, up: int) -> tuple[int, int]:
    """Of one axis, before and behind: the result is `up` times as large and centred."""
    return (taps + up - 1) // 2, (taps - up) // 2


def downsampling_padding(taps: int, down: int) -> tuple[int, int]:
    """Of one axis, before and behind: the result is a `down`-th as large and centred."""
    return (taps - down + 1) // 2, (taps - down) // 2


def _checked_filter(f: Tensor, x: Tensor) -> Tensor:
    check.dense("f", f, "(height, width) or (taps,)")
    if f.ndim not in (1, 2) or f.numel() < 1:
        raise ValueError(f"f has shape {tuple(f.shape)}, expected (height, width) or (taps,)")
    if not f.is_floating_point():
        raise TypeError(f"f has dtype {f.dtype}, expected a floating one")
    check.same_device("f", f, x)
    return f


def limits(x: Tensor, f: Tensor | None) -> dict[dispatch.Backend, str]:
    """Why backends of ours do not run a call that needs gradients."""
    if f is not None and f.requires_grad:
        return dict.fromkeys(OURS, "the filter's gradient needs PyTorch's own kernels")
    return gradient_limits(x, f)


def _empty(x: Tensor, f: Tensor, up: Sequence[int], down: Sequence[int], padding: Sequence[int]) -> Tensor:
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    size = out_size(x.shape[2:], filter_size(f), up, down, padding)
    return empty(x, (*x.shape[:2], *size), x.dtype, last)


def _launch(
    x: Tensor,
    f: Tensor,
    up: Sequence[int],
    down: Sequence[int],
    padding: Sequence[int],
    flip_filter: bool,
    gain: float,
) -> Tensor:
    out = _empty(x, f, up, down, padding)
    launch = dispatch.select("upfirdn2d", x.device, x.dtype)
    launch(out, x, f, up, down, padding, flip_filter, gain)
    return out


class _Upfirdn2d(torch.autograd.Function):
    """With the gradient in x, which is the op again: up and down exchanged, the filter turned over."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, f: Tensor, *options: Any) -> Tensor:
        ctx.save_for_backward(f)
        ctx.size, ctx.options = tuple(x.shape[2:]), options
        with torch._C._AutoDispatchBelowAutograd():
            out: Tensor = torch.ops.genfuse.upfirdn2d(x, f, *options)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (f,) = ctx.saved_tensors
        up, down, padding, flip_filter, gain = ctx.options
        sides: list[int] = []
        for axis in (0, 1):  # x, y
            taps, first = filter_size(f)[1 - axis], padding[2 * axis]
            before = taps - 1 - first
            spread = gradient.shape[3 - axis] * down[axis]
            wanted = (ctx.size[1 - axis] - 1) * up[axis] + taps
            sides += [before, wanted - spread - before]
        again = (gradient, f, down, up, sides, not flip_filter, gain)
        batched = torch._C._functorch.is_legacy_batchedtensor(gradient)  # `is_grads_batched`
        call = reference.upfirdn2d if batched else torch.ops.genfuse.upfirdn2d
        return call(*again), *(None,) * 6


define(
    "upfirdn2d(Tensor x, Tensor f, int[] up, int[] down, int[] padding, bool flip_filter, float gain) -> Tensor"
)
torch.library.impl(LIBRARY, "upfirdn2d", "CPU")(_launch)
torch.library.impl(LIBRARY, "upfirdn2d", "CUDA")(_launch)


@fake("upfirdn2d")
def _fake(
    x: Tensor, f: Tensor, up: list[int], down: list[int], padding: list[int], flip_filter: bool, gain: float
) -> Tensor:
    return _empty(x, f, up, down, padding)


@torch.library.impl(LIBRARY, "upfirdn2d", "Autograd")
def _autograd(x: Tensor, f: Tensor, *options: Any) -> Tensor:
    if needs_gradient(x, f):
        if dispatch.resolve("upfirdn2d", x.device, x.dtype, True, limits(x, f)) in ("aten", "reference"):
            return reference.upfirdn2d(x, f, *options)
        out: Tensor = _Upfirdn2d.apply(x, f, *options)
        return out
    with torch._C._AutoDispatchBelowAutograd():
        plain: Tensor = torch.ops.genfuse.upfirdn2d(x, f, *options)
    return plain
