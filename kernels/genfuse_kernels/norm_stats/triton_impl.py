"""`norm_stats` in Triton: a program takes a block of channels, or a span of its positions where these are many."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.layout import is_wide
from genfuse_kernels.common.moments import (
    fold_moments,
    merged,
    room_for_parts,
    store_moments,
    tile_moments,
    tiles,
)
from genfuse_kernels.common.planes import fit, operand


@triton.jit
def norm_stats_kernel(
    stats, partial, x, rows, channels, positions, channel_blocks, splits, span,
    BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The moments of one block of channels over one span of positions."""
    split = tl.program_id(0) % splits
    channel = (tl.program_id(0) // splits) % channel_blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    sample = (tl.program_id(0) // (splits * channel_blocks)).to(tl.int64)
    if WIDE:
        channel = channel.to(tl.int64)
    end = tl.minimum((split + 1) * span, positions)
    first = x.pointer + sample * x.batch + channel[:, None] * x.channel
    count = tl.zeros((), tl.float64)
    mean = tl.zeros((BLOCK_C,), tl.float64)
    squares = tl.zeros((BLOCK_C,), tl.float64)
    for start in range(split * span, end, BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)[None, :]
        exists = (channel < channels)[:, None] & (position < end)
        if WIDE:
            position = position.to(tl.int64)
        value = tl.load(first + position * x.position, mask=exists, other=0.0).to(tl.float32)
        here = tl.minimum(BLOCK_P, end - start).to(tl.float32)
        mean_b, squares_b = tile_moments(value, exists, here, 1)
        count, mean, squares = merged(count, mean, squares, here.to(tl.float64), mean_b, squares_b)
    row = sample * channels + channel
    store_moments(stats, partial, row, rows, split, splits, count, mean, squares, channel < channels)


def norm_stats(out: Tensor, x: Tensor) -> None:
    """Fill `out`; see `spec`. Positions that don't collapse to one stride go through a contiguous copy."""
    if x.numel() == 0:
        return
    read = fit(x)
    channels, positions = x.shape[1], x.shape[2] * x.shape[3]
    plan = tiles(channels, positions, operand(read).channel == 1)
    rows = x.shape[0] * channels
    partial = room_for_parts(plan.splits, rows, x)
    norm_stats_kernel[(x.shape[0] * plan.channel_blocks * plan.splits,)](
        out,
        partial,
        operand(read),
        rows,
        channels,
        positions,
        **plan.arguments,
        WIDE=is_wide(read),
    )
    fold_moments(out, partial)
