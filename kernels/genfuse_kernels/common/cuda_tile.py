"""How a CUDA kernel walks over channels and positions where it must know the channel: csrc/common/cuda/tile.h.

    rows           a channel's positions lie side by side in every tensor: 128-bit accesses
    channels_last  a position's channels do: likewise
    planes         neither, or not at multiples of 16 bytes: an element at a time

How a sample is shared among threads and blocks follows from its channels, positions, strides and dtype: its bits are
its own, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from genfuse_kernels.common import planes
from genfuse_kernels.common.cuda_walk import Order
from genfuse_kernels.common.planes import operand, reach
from genfuse_kernels.norm_stats.spec import PIECE

THREADS = 256
"""Of a block."""

TILE = np.dtype(
    [(name, "i8") for name in ("channels", "positions", "lanes", "step", "channel_blocks", "splits", "span")]
)
"""The kernel's `Tile`."""

ACCESSES = 4
"""Of a thread in each chunk of positions."""

CHUNKS = 4
"""Of a block, at most, so that the first has a quarter of what is summed about its mean."""

BLOCKS = 128
"""Blocks that a sample is split into, where a block then still has a chunk."""

_RUN = 32
"""Threads, at most, side by side along channels that lie so."""


class TilePlan(NamedTuple):
    """The kernel's order, whether its offsets need 64 bits, its blocks, and its field `tile`."""

    order: Order
    wide: bool
    blocks: int
    splits: int
    span: int
    sizes: tuple[int, int, int, int, int, int, int]


def tile(
    tensors: Sequence[Tensor | None], channels: int, positions: int, *, gathers: bool = False
) -> TilePlan:
    """How to walk over fit `tensors` of one dtype and batch: the first has the strides that are looked at closest.

    gathers    some are read at other positions than the one that the tile counts
    """
    given = [tensor for tensor in tensors if tensor is not None]
    vector = 16 // given[0].element_size()
    order = order_of(given, channels, positions, vector, gathers=gathers)
    lanes, step = _lanes(order, operand(given[0]).channel == 1, channels, positions, vector)
    of_access = (vector, 1) if order == "channels_last" else (1, vector) if order == "rows" else (1, 1)
    chunk = lanes * ACCESSES * of_access[1]
    channel_blocks = -(-channels // (THREADS // lanes * of_access[0]))
    chunks = min(CHUNKS, PIECE // (ACCESSES * of_access[1]))
    while chunks > 1 and channel_blocks * -(-positions // (chunk * chunks)) < BLOCKS:
        chunks //= 2
    span = chunk * chunks
    splits = -(-positions // span)
    reached = max(positions + span, channels + THREADS * vector, *map(reach, given))
    sizes = (channels, positions, lanes, step, channel_blocks, splits, span)
    blocks = given[0].shape[0] * channel_blocks * splits
    return TilePlan(order, reached >= planes.INT32_LIMIT, blocks, splits, span, sizes)


def order_of(
    given: Sequence[Tensor], channels: int, positions: int, vector: int, *, gathers: bool = False
) -> Order:
    """The order that every tensor can be walked in, with accesses of `vector` elements, the 16 bytes of one."""
    operands = [operand(tensor) for tensor in given]
    if positions % vector == 0 and not gathers and all(o.position == 1 for o in operands):
        others = [(o.batch, o.channel if channels > 1 else 0) for o in operands]
        if all(map(_is_aligned, given, others)):
            return "rows"
    if channels % vector == 0 and all(o.channel == 1 for o in operands):
        others = [(o.batch, o.position) for o in operands]
        if all(map(_is_aligned, given, others)):
            return "channels_last"
    return "planes"


def _is_aligned(tensor: Tensor, strides: tuple[int, int]) -> bool:
    """Whether every access begins at a multiple of 16 bytes; the first stride is the batch's."""
    steps = (strides[0] if tensor.shape[0] > 1 else 0, strides[1])
    return tensor.data_ptr() % 16 == 0 and all(step * tensor.element_size() % 16 == 0 for step in steps)


def _lanes(order: Order, channels_apart: bool, channels: int, positions: int, vector: int) -> tuple[int, int]:
    """Threads that share a channel, and how far they are apart in a block: the others are of other channels."""
    along_channels = order == "channels_last" or (order == "planes" and channels_apart)
    run = -(-channels // (vector if order == "channels_last" else 1))
    needed = power_of_two(-(-positions // (ACCESSES * (vector if order == "rows" else 1))))
    if along_channels:
        lanes = min(THREADS // min(power_of_two(run), _RUN), needed)
        return lanes, THREADS // lanes
    return min(THREADS, max(needed, THREADS // min(power_of_two(run), THREADS))), 1


COLUMNS = np.dtype([(name, "i8") for name in ("positions", "members", "step", "blocks")])
"""A kernel's `Columns`: csrc/common/cuda/column.h."""


class ColumnPlan(NamedTuple):
    """How a kernel walks along the channels of pixels; its fields are as `TilePlan` has them."""

    order: Order
    wide: bool
    blocks: int
    sizes: tuple[int, int, int, int]


def columns(images: Sequence[Tensor], positions: int) -> ColumnPlan:
    """For fit images (N, C, H, W), each with channels of its own, all of `positions` pixels."""
    vector = 16 // images[0].element_size()
    orders = {order_of([image], image.shape[1], positions, vector) for image in images}
    order: Order = orders.pop() if len(orders) == 1 else "planes"
    most = max(image.shape[1] for image in images)
    if order == "channels_last" or (order == "planes" and operand(images[0]).channel == 1):
        of_access = (vector if order == "channels_last" else 1), 1
        members = min(power_of_two(-(-most // (ACCESSES * of_access[0]))), THREADS)
        step = 1
    else:
        of_access = 1, (vector if order == "rows" else 1)
        members = min(power_of_two(-(-most // (ACCESSES * CHUNKS))), _RUN)
        step = THREADS // members
    blocks = -(-positions // (THREADS // members * of_access[1]))
    reached = max(positions + THREADS * vector, *map(reach, images))
    sizes = (positions, members, step, blocks)
    return ColumnPlan(order, reached >= planes.INT32_LIMIT, images[0].shape[0] * blocks, sizes)


def power_of_two(size: int) -> int:
    """The smallest one that is no smaller."""
    return 1 << max(size - 1, 0).bit_length()
