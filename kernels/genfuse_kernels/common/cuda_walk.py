"""How a CUDA kernel walks over samples, and the fields of its arguments that say so: csrc/common/cuda/walk.h.

A block takes a tile of one sample, or in a reduction one after the other; a thread one 128-bit access of each
operand, or four elements:

    flat           memory order, the same in every tensor
    channels_last  memory order of dense channels-last samples; noise, which goes by the logical index, is drawn
                   in shared memory and read from there in memory order
    planes         logical order, each tensor with its own strides: element-wide accesses

The first two need every thread's elements to lie at a multiple of 16 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common.planes import INT32_LIMIT, inner_strides, is_dense, operand, plane_strides, reach

THREADS = 128
"""Threads of a block that walks over one tile."""

OPERAND = np.dtype([("data", "u8"), ("batch", "i8"), ("channel", "i8"), ("position", "i8")])
WALK = np.dtype([(name, "i8") for name in ("tiles", "tile", "channels", "positions")])

Order = Literal["flat", "channels_last", "planes", "rows"]
"""The last is `cuda_tile`'s alone."""


class Walk(NamedTuple):
    """The kernel's order, whether its offsets need 64 bits, its blocks and its field `walk`."""

    order: Order
    wide: bool
    blocks: int
    sizes: tuple[int, int, int, int]


def operand_field(tensor: Tensor | None) -> tuple[int, int, int, int]:
    """A fit tensor as the kernel's `Operand`; zeros where it is absent."""
    pointer, batch, channel, position = operand(tensor)
    return 0 if pointer is None else pointer.data_ptr(), batch, channel, position


def addressed(numbers: Tensor | None) -> tuple[int, int]:
    """Address of int64 (N,) or (1,), and the step from a sample's to the next one's; zeros where absent."""
    if numbers is None:
        return 0, 0
    return numbers.data_ptr(), numbers.stride(0) if numbers.numel() > 1 else 0


def elements_of(order: Order, dtype: torch.dtype) -> int:
    """Elements of a thread: at least one Philox block."""
    return 4 if order == "planes" else max(4, 16 // dtype.itemsize)


def walk(tensors: Sequence[Tensor | None], *, draws: bool, threads: int = THREADS) -> Walk:
    """How to walk over fit `tensors` of one shape and dtype.

    draws: elements must be known by their logical index, for noise.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    shape = given[0].shape
    channels = shape[1] if len(shape) > 1 else 1
    positions = shape[2:].numel()
    order = _order(given, channels, positions, draws)
    elements = elements_of(order, given[0].dtype)
    tile = threads * elements
    if order == "channels_last":
        group = elements * channels  # whole blocks of each channel, aligned to 16 bytes
        tile = tile // group * group
    tiles = -(-channels * positions // tile)
    wide = max(tiles * tile, *(reach(tensor) for tensor in given)) >= INT32_LIMIT
    return Walk(order, wide, shape[0] * tiles, (tiles, tile, channels, positions))


def _order(given: Sequence[Tensor], channels: int, positions: int, draws: bool) -> Order:
    elements = elements_of("flat", given[0].dtype)
    inner = {inner_strides(tensor) for tensor in given}
    if len(inner) > 1 or channels * positions % elements or not all(map(_is_aligned, given)):
        return "planes"
    strides = inner.pop()
    if is_dense(given[0].shape[1:], strides, contiguous=draws):
        return "flat"
    pixels_apart = (plane_strides(given[0]) or (0, 0, 0))[1:] == (1, channels)
    dense = is_dense(given[0].shape[1:], strides, contiguous=False)
    if dense and pixels_apart and positions % 4 == 0 and channels <= THREADS:
        return "channels_last"
    return "planes"


def _is_aligned(tensor: Tensor) -> bool:
    """Whether each sample begins at a multiple of 16 bytes."""
    step = tensor.stride(0) * tensor.element_size() if tensor.shape[0] > 1 else 0
    return tensor.data_ptr() % 16 == 0 and step % 16 == 0
