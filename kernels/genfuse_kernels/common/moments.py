"""Mean and variance for Triton kernels: tiles about their own mean, merged in float64 in a fixed order.

A tile's deviations are taken about its float32 mean and corrected by their sum (Chan, Golub & LeVeque 1983), so that a
mean far larger than the deviation cancels nothing; tiles and splits merge by the formula of Chan, Golub & LeVeque 1979.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 2048
"""Elements of a tile: 16 a thread."""

SPAN = 16 * TILE
"""Elements that a program reads at least before another joins it at the same channels."""

PROGRAMS = 128
"""That one sample is worth having where that costs nothing, on any device: its bits may not depend on which."""

LAUNCH = {"num_warps": 4, "enable_fp_fusion": True}
"""Options of a kernel that walks over such tiles."""


class Tiles(NamedTuple):
    """How programs share the channels and positions of a sample: by its sizes and strides, never by the batch."""

    channels: int
    positions: int
    channel_blocks: int
    splits: int
    span: int

    @property
    def arguments(self) -> dict[str, int]:
        """Keyword arguments of a kernel."""
        return LAUNCH | {
            "channel_blocks": self.channel_blocks,
            "splits": self.splits,
            "span": self.span,
            "BLOCK_C": self.channels,
            "BLOCK_P": self.positions,
        }


def tiles(channels: int, positions: int, channels_last: bool, share: int = 1, *, sums: bool = True) -> Tiles:
    """Tiles of TILE/share elements, long where memory is; a kernel that keeps more values wants fewer of each.

    sums   whether a program leaves numbers of its span for others to merge, which short spans make more of; without,
           they are as short as PROGRAMS of one sample ask for
    """
    tile = TILE // share
    most_channels, most_positions = (triton.next_power_of_2(size) for size in (channels, positions))
    if channels_last:
        block_c = min(most_channels, 64)
        block_p = min(most_positions, tile // block_c)
    else:
        block_p = min(most_positions, tile)
        block_c = min(most_channels, tile // block_p, 64)
    block_p = max(block_p, 4)  # a Philox block's
    span, channel_blocks = max(SPAN // (block_c * block_p), 1) * block_p, triton.cdiv(channels, block_c)
    least = max(block_p, 16)  # a span's first address is then known to be aligned
    while not sums and span > least and channel_blocks * triton.cdiv(positions, span) < PROGRAMS:
        span //= 2
    return Tiles(block_c, block_p, channel_blocks, triton.cdiv(positions, span), span)


@triton.jit
def tile_moments(value, exists, count, AXIS: tl.constexpr):
    """Mean and squared deviations along AXIS, float64, of the `count` (float32) values that exist."""
    inverse = 1.0 / count
    mean = tl.sum(tl.where(exists, value, 0.0), AXIS) * inverse
    off = tl.where(exists, value - tl.expand_dims(mean, AXIS), 0.0)
    first = tl.sum(off, AXIS)
    squares = tl.sum(off * off, AXIS) - first * first * inverse
    return mean.to(tl.float64) + (first * inverse).to(tl.float64), tl.where(squares < 0, 0.0, squares).to(
        tl.float64
    )


@triton.jit
def merged(count, mean, squares, count_b, mean_b, squares_b):
    """Of both sets, all float64; the second may be empty, the first too."""
    total = count + count_b
    share = count_b / tl.where(total > 0, total, 1.0)
    apart = mean_b - mean
    return total, mean + apart * share, squares + squares_b + apart * apart * count * share


@triton.jit
def store_moments(stats, partial, row, rows, part, parts, count, mean, squares, exists):
    """(mean, variance) of a row where this part is all of it, else what `fold_moments` merges."""
    if partial is None:
        tl.store(stats + row * 2, mean.to(tl.float32), mask=exists)
        tl.store(stats + row * 2 + 1, (squares / count).to(tl.float32), mask=exists)
    else:
        address = partial + part * rows + row
        tl.store(address, mean * 0 + count, mask=exists)
        tl.store(address + parts * rows, mean, mask=exists)
        tl.store(address + 2 * parts * rows, squares, mask=exists)


@triton.jit(do_not_specialize=["parts"])
def fold_moments_kernel(stats, partial, rows, parts, BLOCK: tl.constexpr):
    """Merge the parts of a block of rows, one after the other."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = row < rows
    count = tl.zeros((BLOCK,), tl.float64)
    mean, squares = count, count
    for part in range(parts):
        address = partial + part * rows + row
        count_b = tl.load(address, mask=exists, other=1.0)
        mean_b = tl.load(address + parts * rows, mask=exists, other=0.0)
        squares_b = tl.load(address + 2 * parts * rows, mask=exists, other=0.0)
        count, mean, squares = merged(count, mean, squares, count_b, mean_b, squares_b)
    tl.store(stats + row * 2, mean.to(tl.float32), mask=exists)
    tl.store(stats + row * 2 + 1, (squares / count).to(tl.float32), mask=exists)


def room_for_parts(parts: int, rows: int, like: Tensor) -> Tensor | None:
    """Where the parts of rows meet: (3, parts, rows) float64, count, mean and squared deviations."""
    if parts == 1:
        return None
    return torch.empty((3, parts, rows), dtype=torch.float64, device=like.device)


def fold_moments(stats: Tensor, partial: Tensor | None) -> None:
    """Fill `stats` (..., 2) float32 from `room_for_parts`'s, once every part is there."""
    if partial is not None:
        rows = partial.shape[2]
        fold_moments_kernel[(triton.cdiv(rows, 128),)](
            stats, partial, rows, partial.shape[1], BLOCK=128, enable_fp_fusion=True
        )
