"""How a Triton kernel walks over a sample: contiguous, channels-last and sliced tensors in any mix, no copy.

A sample is seen as `planes` says. Elements go by quads, the four that share a Philox block, in one of three orders:

    flat     memory order, the same in every tensor: 128-bit accesses
    planes   logical order, each tensor with its own two strides
    pixels   channel fastest, four positions a thread: what channels-last wants. A thread's four elements lie
             a pixel apart, so accesses are element-wide; neighbouring threads fill the sectors between them,
             and each Philox block is still drawn once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.planes import INT32_LIMIT, inner_strides, is_dense, plane_strides, reach
from genfuse_kernels.common.target import warps_of

THREADS = 128
"""Threads of a program. Each handles one 128-bit access of an operand, and at least one Philox block."""


class Walk(NamedTuple):
    """Keyword arguments that the kernels share, and the grid of one program a tile of a sample."""

    grid: tuple[int]
    arguments: dict[str, Any]


def walk(tensors: Sequence[Tensor | None], *, draws: bool, threads: int = THREADS) -> Walk:
    """How to walk over fit `tensors` of one shape, the first of which says the order.

    draws: elements must be known by their logical index, for noise.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    shape = given[0].shape
    channels = shape[1] if len(shape) > 1 else 1
    positions = shape[2:].numel()
    numel = channels * positions
    inner = {inner_strides(tensor) for tensor in given}
    if len(inner) == 1 and is_dense(shape[1:], *inner, contiguous=draws):
        order = "flat"
    elif positions % 4 == 0 and abs((plane_strides(given[0]) or (0, 0, 0))[2]) > 1:
        order = "pixels"
    else:
        order = "planes"
    most_quads = threads * max(4, 16 // given[0].element_size()) // 4
    quads = min(most_quads, max(32, triton.next_power_of_2(triton.cdiv(numel, 4))))
    tiles = triton.cdiv(numel, 4 * quads)
    farthest = max(reach(tensor) for tensor in given)
    return Walk(
        grid=(shape[0] * tiles,),
        arguments={
            "tiles": tiles,
            "channels": channels,
            "positions": positions,
            "ORDER": order,
            "QUADS": quads,
            "WIDE": max(farthest, tiles * quads * 4) >= INT32_LIMIT,
            "COMPUTE": tl.float64 if given[0].dtype == torch.float64 else tl.float32,
            "num_warps": warps_of(threads),
            "enable_fp_fusion": True,
        },
    )


def is_wide(*tensors: Tensor | None) -> bool:
    """Whether offsets within a sample of one of them need 64 bits."""
    return any(tensor is not None and reach(tensor) >= INT32_LIMIT for tensor in tensors)


@triton.jit
def tile_elements(tile, channels, positions, ORDER: tl.constexpr, QUADS: tl.constexpr, WIDE: tl.constexpr):
    """A tile's elements: Philox blocks (Q,), channels and positions (4Q,), and which of them exist (4Q,)."""
    block = tile * QUADS + tl.arange(0, QUADS)
    element = tile * (QUADS * 4) + tl.arange(0, QUADS * 4)
    if WIDE:
        wide = tl.full((), tile, tl.int64)
        block = wide * QUADS + tl.arange(0, QUADS)
        element = wide * (QUADS * 4) + tl.arange(0, QUADS * 4)
        exists = element < channels.to(tl.int64) * positions
    else:
        exists = element < channels * positions
    if ORDER == "flat":
        channel = tl.zeros_like(element)
        position = element
    elif ORDER == "planes":
        channel = element // positions
        position = element - channel * positions
    else:
        channel = (element // 4) % channels
        position = (element // 4) // channels * 4 + element % 4
        block = (block % channels) * (positions // 4) + block // channels
    return block, channel, position, exists


@triton.jit
def pointers(operand, sample, channel, position, ORDER: tl.constexpr):
    """Addresses of a tile's elements in one operand; `sample` int64."""
    first = operand.pointer + sample * operand.batch
    if ORDER == "flat":
        address = first + position
    else:
        address = first + (channel * operand.channel + position * operand.position)
    return address
