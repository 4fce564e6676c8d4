"""`norm_act` in Triton: statistics where none are given, then one pass that reads each image once.

It stages too what a convolution reads where its own load path should not repeat the work: `conv_norm_act.triton_impl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.activation import activated
from genfuse_kernels.common.layout import is_wide
from genfuse_kernels.common.moments import (
    fold_moments,
    merged,
    room_for_parts,
    store_moments,
    tile_moments,
    tiles,
)
from genfuse_kernels.common.philox import philox_words
from genfuse_kernels.common.planes import fit, operand
from genfuse_kernels.conv_norm_act.dropout import Dropout
from genfuse_kernels.conv_norm_act.norm_table import Table
from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings
from genfuse_kernels.conv_norm_act.triton_norm import norm_table, normalised
from genfuse_kernels.philox_normal.spec import STREAM_DROPOUT

if TYPE_CHECKING:
    from typing_extensions import Unpack

_STREAM_DROPOUT = tl.constexpr(STREAM_DROPOUT)


@triton.jit
def mask_words(seed, stream, element, QUADS: tl.constexpr, WIDE: tl.constexpr):
    """The 23 bits of each element's uniform number, (C, P); with QUADS its P are whole Philox blocks."""
    row, of_dropout = stream.to(tl.int64), tl.full((), _STREAM_DROPOUT, tl.int64)
    if QUADS:
        quad = tl.min(tl.reshape(element, (element.shape[0], element.shape[1] // 4, 4)), 2) // 4
        w0, w1, w2, w3 = philox_words(seed, row, of_dropout, quad)
        word = tl.interleave(tl.interleave(w0, w2), tl.interleave(w1, w3))
    else:
        w0, w1, w2, w3 = philox_words(seed, row, of_dropout, element // 4)
        which = element % 4
        word = tl.where(which < 2, tl.where(which == 0, w0, w1), tl.where(which == 2, w2, w3))
    return word >> 9


@triton.jit(do_not_specialize=["stream", "threshold", "first_channel"])
def norm_act_kernel(
    out, stats, partial, x, residual, table, pixels, seeds, stream, threshold, keep, slope, scale,
    rows, table_channels, first_channel, channels, positions, width, out_positions, out_width,
    channel_blocks, splits, span,
    ACTIVATION: tl.constexpr, OUT_ACTIVATION: tl.constexpr, POOL_H: tl.constexpr, POOL_W: tl.constexpr,
    QUADS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One block of channels over one span of the output's positions, tile by tile."""
    split = tl.program_id(0) % splits
    channel = (tl.program_id(0) // splits) % channel_blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    sample = (tl.program_id(0) // (splits * channel_blocks)).to(tl.int64)
    if WIDE:
        channel = channel.to(tl.int64)
    of_channel = (channel < channels)[:, None]
    end = tl.minimum((split + 1) * span, out_positions)
    row = sample * table_channels + (first_channel + channel)[:, None]
    count = tl.zeros((), tl.float64)
    mean = tl.zeros((BLOCK_C,), tl.float64)
    squares = tl.zeros((BLOCK_C,), tl.float64)
    for start in range(split * span, end, BLOCK_P):
        made = start + tl.arange(0, BLOCK_P)[None, :]
        of_position = made < end
        if WIDE:
            made = made.to(tl.int64)
        exists = of_channel & of_position
        value = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
        for member in tl.static_range(POOL_H * POOL_W):
            position = made
            if POOL_H * POOL_W > 1:
                position = (made // out_width * POOL_H + member // POOL_W) * width
                position += made % out_width * POOL_W + member % POOL_W
            offset = channel[:, None] * x.channel + position * x.position
            h = tl.load(x.pointer + sample * x.batch + offset, mask=exists, other=0.0).to(tl.float32)
            h = normalised(h, table, pixels, row, sample * positions + position, of_channel, of_position)
            h = activated(h, ACTIVATION, slope)
            if seeds is not None:
                element = (first_channel + channel).to(tl.int64)[:, None] * positions + position
                bits = mask_words(tl.load(seeds + sample), stream, element, QUADS, WIDE)
                h *= tl.where(bits.to(tl.int32) >= threshold, keep, 0.0)
            if residual.pointer is not None:
                offset = channel[:, None] * residual.channel + position * residual.position
                added = residual.pointer + sample * residual.batch + offset
                h += tl.load(added, mask=exists, other=0.0).to(tl.float32)
            value += activated(h * scale, OUT_ACTIVATION, slope)
        value *= 1.0 / (POOL_H * POOL_W)
        if stats is not None:
            here = tl.minimum(BLOCK_P, end - start).to(tl.float32)
            mean_b, squares_b = tile_moments(value, exists, here, 1)
            count, mean, squares = merged(count, mean, squares, here.to(tl.float64), mean_b, squares_b)
        address = out.pointer + sample * out.batch + channel[:, None] * out.channel + made * out.position
        tl.store(address, value.to(out.pointer.dtype.element_ty), mask=exists)
    if stats is not None:
        of_out = sample * channels + channel
        store_moments(
            stats, partial, of_out, rows, split, splits, count, mean, squares, channel < channels
        )  # fmt: skip


def norm_act(
    out: Tensor, stats_out: Tensor | None, x: Tensor, settings: Settings, **tensors: Unpack[NormTensors]
) -> None:
    """Fill `out` and `stats_out`; see `spec`. Tensors whose positions don't collapse go through copies, `out` too."""
    if x.numel() == 0:
        return
    table = norm_table(x, None, settings, tensors)
    apply(out, stats_out, x, settings, table, tensors.get("residual"), tensors.get("seeds"))


def apply(
    out: Tensor,
    stats_out: Tensor | None,
    x: Tensor,
    s: Settings,
    table: Table,
    residual: Tensor | None,
    seeds: Tensor | None,
    *,
    first_channel: int = 0,
) -> None:
    """What follows the statistics; x's channels are those of the table from `first_channel` on."""
    read, added, written = fit(x), fit(residual), fit(out)
    batch, channels = x.shape[:2]
    positions, out_positions = x.shape[2] * x.shape[3], out.shape[2] * out.shape[3]
    plan = tiles(channels, out_positions, operand(read).channel == 1, sums=stats_out is not None)
    rows = batch * channels
    partial = None if stats_out is None else room_for_parts(plan.splits, rows, x)
    norm_act_kernel[(batch * plan.channel_blocks * plan.splits,)](
        operand(written),
        stats_out,
        partial,
        operand(read),
        operand(added),
        table.channels,
        table.pixels,
        *Dropout.of(s, seeds),
        s.negative_slope,
        s.scale,
        rows,
        channels if table.channels is None else table.channels.shape[1],
        first_channel,
        channels,
        positions,
        x.shape[3],
        out_positions,
        out.shape[3],
        ACTIVATION=s.activation,
        OUT_ACTIVATION=s.out_activation,
        POOL_H=s.pool[0],
        POOL_W=s.pool[1],
        QUADS=s.pool == (1, 1) and positions % 4 == 0,
        **plan.arguments,
        WIDE=is_wide(read, added, written),
    )
    if stats_out is not None:
        fold_moments(stats_out, partial)
    if written is not None and written is not out:
        out.copy_(written)
