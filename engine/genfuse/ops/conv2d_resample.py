"""`conv2d_resample`: a convolution between upsampling and downsampling through a low-pass filter."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from genfuse.env import backend_missing
from genfuse.ops import check
from genfuse.ops.conv_norm_act import unit
from genfuse.ops.library import needs_dispatcher
from genfuse.ops.upfirdn2d import (
    Factors,
    downsampling_padding,
    four_sides,
    upfirdn2d,
    upsampling_padding,
)
from genfuse_kernels.conv_norm_act.settings import Settings
from genfuse_kernels.upfirdn2d.spec import filter_size

_SMALL = 64
"""Pixels of a picture up to which a transposed convolution runs by its definition."""

_Sides = tuple[int, int, int, int]


def conv2d_resample(
    x: Tensor,
    weight: Tensor,
    f: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Factors = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
    *,
    scale: Tensor | None = None,
) -> Tensor:
    """Upsample x, convolve it, downsample the result (Karras et al. 2020; names and order are stylegan3's).

    x            (N, C, H, W) as `conv_norm_act` takes it
    weight       (K, C/groups, height, width)
    f            low-pass filter of both resamplings, (height, width) or (taps,), of sum 1; None: 1
    up, down     1 or more
    padding      of all sides, (x, y) or (left, right, top, bottom) of the upsampled picture, beside what the filter
                 needs; negative: cut off
    flip_weight  correlate, as `torch.nn.functional.conv2d`; False: convolve, with the weight turned over
    flip_filter  correlate with f
    scale        (C,) or (N, C): x is read times it

    Returns (N, K, H', W'). What is convolved is as small as the definition admits: a 1x1 kernel meets the small
    picture, downsampling is the convolution's stride behind the filter, upsampling a transposed convolution with the
    filter behind it. Differentiable twice. ValueError or TypeError, naming the argument.
    """
    check.sample("x", x)
    check.dense("weight", weight, "(K, C/groups, height, width)")
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}, expected (N, C, H, W) and "
            "(K, C/groups, height, width)"
        )
    for name, factor in (("up", up), ("down", down), ("groups", groups)):
        check.count(name, factor)
    check.flag("flip_weight", flip_weight)
    check.flag("flip_filter", flip_filter)
    sides = _with_filter(four_sides("padding", padding), f, up, down)
    if weight.shape[2:] == (1, 1) and up == 1 and down > 1:
        return _convolved(upfirdn2d(x, f, 1, down, sides, flip_filter), weight, groups, scale)
    if weight.shape[2:] == (1, 1) and down == 1 and up > 1:
        return upfirdn2d(_convolved(x, weight, groups, scale), f, up, 1, sides, flip_filter, up**2)
    if up > 1:
        turned = _turned(weight, groups, flip_weight)
        return _upsampled(x, turned, f, up, down, sides, groups, flip_filter, scale)
    kernel = weight if flip_weight else weight.flip((2, 3))
    if down > 1:
        return _convolved(upfirdn2d(x, f, 1, 1, sides, flip_filter), kernel, groups, scale, stride=down)
    if min(sides) < 0:
        x, sides = upfirdn2d(x, None, padding=tuple(min(side, 0) for side in sides)), _at_least_0(sides)
    return _convolved(x, kernel, groups, scale, sides)


def _with_filter(sides: _Sides, f: Tensor | None, up: int, down: int) -> _Sides:
    """Padding with what the filter adds to it."""
    found = list(sides)
    for axis, taps in enumerate((1, 1) if f is None else reversed(filter_size(f))):
        for factor, padding in ((up, upsampling_padding), (down, downsampling_padding)):
            before, behind = padding(taps, factor) if factor > 1 else (0, 0)
            found[2 * axis] += before
            found[2 * axis + 1] += behind
    left, right, top, bottom = found
    return left, right, top, bottom


def _at_least_0(sides: _Sides) -> _Sides:
    left, right, top, bottom = (max(side, 0) for side in sides)
    return left, right, top, bottom


def _upsampled(
    x: Tensor,
    turned: Tensor,
    f: Tensor | None,
    up: int,
    down: int,
    sides: _Sides,
    groups: int,
    flip_filter: bool,
    scale: Tensor | None,
) -> Tensor:
    """By a transposed convolution, whose output has what the filter reads beyond the picture."""
    height, width = turned.shape[2:]
    # A correlation of the picture with its zeros reads one tap more on each side than a transposed one writes.
    added = [1 - width, up - width, 1 - height, up - height]
    left, right, top, bottom = (side + more for side, more in zip(sides, added, strict=True))
    cut_x, cut_y = max(min(-left, -right), 0), max(min(-top, -bottom), 0)
    y = _convolved(x, turned, groups, scale, (cut_x, cut_y), up, transposed=True)
    rest = (left + cut_x, right + cut_x, top + cut_y, bottom + cut_y)
    y = upfirdn2d(y, f, padding=rest, flip_filter=flip_filter, gain=up**2)
    return y if down == 1 else upfirdn2d(y, f, down=down, flip_filter=flip_filter)


def _turned(weight: Tensor, groups: int, correlates: bool) -> Tensor:
    """`_transposed`; of a weight that is not trained it is kept, and so is what it is packed to."""
    if needs_dispatcher(weight) or weight.device.type != "cpu" or backend_missing("cpu") is not None:
        return _transposed(weight, groups, correlates)
    from genfuse_kernels.common.packed_weights import derived  # needs the extension

    key = ("transposed", groups, correlates)
    return derived((weight,), key, lambda: _transposed(weight, groups, correlates))


def _transposed(weight: Tensor, groups: int, correlates: bool) -> Tensor:
    """(C, K/groups, ...): a transposed convolution of it convolves with `weight`, or, turned over, correlates."""
    outputs, inputs, *size = weight.shape
    taps = weight.flip((2, 3)) if correlates else weight
    apart = taps.reshape(groups, outputs // groups, inputs, *size)
    return apart.transpose(1, 2).reshape(groups * inputs, outputs // groups, *size)


def _convolved(
    x: Tensor,
    weight: Tensor,
    groups: int,
    scale: Tensor | None,
    sides: tuple[int, ...] = (0, 0, 0, 0),
    stride: int = 1,
    transposed: bool = False,
) -> Tensor:
    """sides   (left, right, top, bottom); (x, y) where transposed"""
    if transposed:
        before, extra = (sides[1], sides[0]), (0, 0)
    else:
        left, right, top, bottom = sides
        before, extra = (top, left), (bottom - top, right - left)
    # Winograd's packed weights cost more than it saves there: 2 ms for 1 of (1, 256, 8, 8) to 256.
    is_small = transposed and x.shape[2] * x.shape[3] <= _SMALL
    settings = Settings(
        (stride, stride),
        before,
        extra,
        groups=groups,
        transposed=transposed,
        accuracy="exact" if is_small else None,
    )
    tensors: Any = {"norm_weight": scale}
    return unit(x, weight, None, settings, tensors)[0]
