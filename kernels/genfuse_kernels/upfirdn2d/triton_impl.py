"""`upfirdn2d` in Triton: one pass, in which no inserted zero is read or multiplied.

A row of the result is a run of columns × inner elements: inner is 1 in planar memory, where each channel is a picture
of its own, and the channels in channels-last memory, where all of a pixel's take the same factors. A program makes a
tile of rows and such elements. A filter of one axis goes along x once a row of x, and each filtered row is added to the
rows of the tile that it reaches: it never leaves the program.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.planes import INT32_LIMIT
from genfuse_kernels.common.target import warps_of
from genfuse_kernels.upfirdn2d.spec import filter_size

_ROWS, _LANES, _THREADS = 8, 256, 128
"""Of a tile, at most. With a filter of one axis half the threads, and a thread has 128 bits of each row; of a small
tile as many threads as have 128 bits each."""


@triton.jit
def first_tap(place, before, shift, UP: tl.constexpr, DOWN: tl.constexpr):
    """Of a result's place along an axis: the first pixel of x that its taps meet, and the tap that meets it.

    before, shift  padding as shift·up − before with 0 ≤ before < up, so that no negative number is divided
    """
    start = place * DOWN + before
    pixel = (start + UP - 1) // UP
    return pixel - shift, pixel * UP - start


@triton.jit
def factor_of(f, tap, mask, TAPS: tl.constexpr, FLIP: tl.constexpr, COMPUTE: tl.constexpr):
    """Of one axis, 0 where the mask is off."""
    return tl.load(f + (tap if FLIP else TAPS - 1 - tap), mask=mask, other=0.0).to(COMPUTE)


@triton.jit(do_not_specialize=["gain", "before_x", "before_y", "shift_x", "shift_y"])
def upfirdn2d_kernel(
    out, x, f, gain: tl.float64, height, width, out_height, out_width, inner, before_x, shift_x, before_y, shift_y,
    UP_X: tl.constexpr, UP_Y: tl.constexpr, DOWN_X: tl.constexpr, DOWN_Y: tl.constexpr,
    TAPS_X: tl.constexpr, TAPS_Y: tl.constexpr, FLIP: tl.constexpr, SEPARABLE: tl.constexpr,
    COMPUTE: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """One tile of one picture of the result."""
    across = tl.cdiv(out_width * inner, LANES)
    tile, lane = tl.program_id(0) // across, tl.program_id(0) % across * LANES + tl.arange(0, LANES)
    down = tl.cdiv(out_height, ROWS)
    picture, top = (tile // down).to(tl.int64), tile % down * ROWS
    row = top + tl.arange(0, ROWS)
    column, channel = lane // inner, lane % inner
    pixel, tap_x = first_tap(column, before_x, shift_x, UP_X, DOWN_X)
    pitch = (width * inner).to(tl.int64) if WIDE else width * inner
    x += picture * height * pitch
    total = tl.zeros((ROWS, LANES), COMPUTE)
    times = tl.full((), gain, COMPUTE)
    if SEPARABLE:
        first, _ = first_tap(top, before_y, shift_y, UP_Y, DOWN_Y)
        for i in range(((ROWS - 1) * DOWN_Y + TAPS_Y - 1) // UP_Y + 1):
            source = first + i
            if (source >= 0) & (source < height):
                filtered = tl.zeros((LANES,), COMPUTE)
                for j in tl.static_range((TAPS_X + UP_X - 1) // UP_X):
                    met = (pixel + j >= 0) & (pixel + j < width) & (tap_x + j * UP_X < TAPS_X)
                    value = tl.load(x + source * pitch + (pixel + j) * inner + channel, mask=met, other=0.0)
                    factor = factor_of(f, tap_x + j * UP_X, met, TAPS_X, FLIP, COMPUTE)
                    filtered += value.to(COMPUTE) * (factor * times)
                tap_y = (source + shift_y) * UP_Y - (row * DOWN_Y + before_y)
                reaches = (tap_y >= 0) & (tap_y < TAPS_Y)
                factor = factor_of(f, tap_y, reaches, TAPS_Y, FLIP, COMPUTE)
                total += tl.where(reaches[:, None], factor[:, None] * filtered[None, :], 0.0)
    else:
        source, tap_y = first_tap(row, before_y, shift_y, UP_Y, DOWN_Y)
        for i in range((TAPS_Y + UP_Y - 1) // UP_Y):
            inside = (source + i >= 0) & (source + i < height) & (tap_y + i * UP_Y < TAPS_Y)
            start = (source + i) * pitch
            for j in tl.static_range((TAPS_X + UP_X - 1) // UP_X):
                here = (pixel + j >= 0) & (pixel + j < width) & (tap_x + j * UP_X < TAPS_X)
                met = inside[:, None] & here[None, :]
                value = tl.load(
                    x + start[:, None] + ((pixel + j) * inner + channel)[None, :], mask=met, other=0.0
                )
                tap = ((tap_y + i * UP_Y) * TAPS_X)[:, None] + (tap_x + j * UP_X)[None, :]
                factor = factor_of(f, tap, met, TAPS_X * TAPS_Y, FLIP, COMPUTE)
                total += value.to(COMPUTE) * (factor * times)
    out_pitch = (out_width * inner).to(tl.int64) if WIDE else out_width * inner
    place = out + picture * out_height * out_pitch + (row * out_pitch)[:, None] + lane[None, :]
    exists = (row < out_height)[:, None] & (lane < out_width * inner)[None, :]
    tl.store(place, total.to(out.dtype.element_ty), mask=exists)


def upfirdn2d(
    out: Tensor,
    x: Tensor,
    f: Tensor,
    up: Sequence[int],
    down: Sequence[int],
    padding: Sequence[int],
    flip_filter: bool,
    gain: float,
) -> None:
    """Fill `out`; see `spec`. Shapes, dtypes and devices are the caller's to check."""
    if out.numel() == 0:
        return
    last = not out.is_contiguous()
    x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    f = f.detach().contiguous()
    batch, channels, height, width = x.shape
    out_height, out_width = out.shape[2:]
    inner, pictures = (channels, batch) if last else (1, batch * channels)
    most, threads = (_THREADS * 8 // x.element_size(), _THREADS // 2) if f.ndim == 1 else (_LANES, _THREADS)
    lanes = min(most, triton.next_power_of_2(out_width * inner))
    rows = min(_ROWS, triton.next_power_of_2(out_height))
    shift_x, shift_y = (-(-padding[2 * axis] // up[axis]) for axis in (0, 1))
    upfirdn2d_kernel[(pictures * triton.cdiv(out_height, rows) * triton.cdiv(out_width * inner, lanes),)](
        out, x, f, gain, height, width, out_height, out_width, inner,
        shift_x * up[0] - padding[0], shift_x, shift_y * up[1] - padding[2], shift_y,
        UP_X=up[0], UP_Y=up[1], DOWN_X=down[0], DOWN_Y=down[1], TAPS_X=filter_size(f)[1], TAPS_Y=filter_size(f)[0],
        FLIP=flip_filter, SEPARABLE=f.ndim == 1, COMPUTE=tl.float64 if x.dtype == torch.float64 else tl.float32,
        WIDE=max(height * width, out_height * out_width) * inner >= INT32_LIMIT, ROWS=rows, LANES=lanes,
        num_warps=warps_of(min(threads, lanes * rows * x.element_size() // 16)), enable_fp_fusion=True,
    )  # fmt: skip
