"""How a Triton kernel walks over a sample: contiguous, channels-last and sliced tensors in any mix, no copy.

A sample is seen as channels × positions, (C, H·W); a tensor is fit where its positions collapse to one
stride. Elements go by quads, the four that share a Philox block, in one of three orders:

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

THREADS = 128
"""Threads of a program. Each handles one 128-bit access of an operand, and at least one Philox block."""

INT32_LIMIT = 2**31
"""Offsets within a sample from here on are computed in 64 bits."""


class Operand(NamedTuple):
    """A tensor as a kernel sees it; `pointer` None: absent."""

    pointer: Tensor | None
    batch: int
    channel: int
    position: int


class Walk(NamedTuple):
    """Keyword arguments that the kernels share, and the grid of one program a tile of a sample."""

    grid: tuple[int]
    arguments: dict[str, Any]


def plane_strides(tensor: Tensor) -> tuple[int, int, int] | None:
    """Strides of sample, channel and position of (N, C, *positions); None where positions don't collapse."""
    batch, channel = tensor.stride(0), tensor.stride(1) if tensor.ndim > 1 else 0
    position = 0
    span = None
    for size, stride in zip(reversed(tensor.shape[2:]), reversed(tensor.stride()[2:]), strict=True):
        if size == 1:
            continue
        if span is None:
            position = stride
        elif stride != span:
            return None
        span = stride * size
    return batch, channel, position


def fit(tensor: Tensor | None) -> Tensor | None:
    """`as_planes`, of a tensor that may be absent."""
    return None if tensor is None else as_planes(tensor)


def as_planes(tensor: Tensor) -> Tensor:
    """The tensor itself where a kernel can walk over it, else a contiguous copy."""
    return tensor if plane_strides(tensor) is not None else tensor.contiguous()


def operand(tensor: Tensor | None) -> Operand:
    """`tensor`, fit, as a kernel argument."""
    if tensor is None:
        return Operand(None, 0, 0, 0)
    strides = plane_strides(tensor)
    if strides is None:
        raise ValueError(f"strides {tensor.stride()} don't collapse; pass the tensor through fit()")
    return Operand(tensor, *strides)


def walk(tensors: Sequence[Tensor | None], *, draws: bool, threads: int = THREADS) -> Walk:
    """How to walk over fit `tensors` of one shape, the first of which says the order.

    draws: elements must be known by their logical index, for noise.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    shape = given[0].shape
    channels = shape[1] if len(shape) > 1 else 1
    positions = shape[2:].numel()
    numel = channels * positions
    inner = {_inner_strides(tensor) for tensor in given}
    if len(inner) == 1 and _is_dense(shape[1:], *inner, contiguous=draws):
        order = "flat"
    elif positions % 4 == 0 and abs((plane_strides(given[0]) or (0, 0, 0))[2]) > 1:
        order = "pixels"
    else:
        order = "planes"
    most_quads = threads * max(4, 16 // given[0].element_size()) // 4
    quads = min(most_quads, max(32, triton.next_power_of_2(triton.cdiv(numel, 4))))
    tiles = triton.cdiv(numel, 4 * quads)
    reach = max(_reach(tensor) for tensor in given)
    return Walk(
        grid=(shape[0] * tiles,),
        arguments={
            "tiles": tiles,
            "channels": channels,
            "positions": positions,
            "ORDER": order,
            "QUADS": quads,
            "WIDE": max(reach, tiles * quads * 4) >= INT32_LIMIT,
            "COMPUTE": tl.float64 if given[0].dtype == torch.float64 else tl.float32,
            "num_warps": threads // 32,
            "enable_fp_fusion": True,
        },
    )


def _inner_strides(tensor: Tensor) -> tuple[int, ...]:
    """Strides within a sample; those of dimensions of size 1 say nothing and read as 0."""
    dims = zip(tensor.shape[1:], tensor.stride()[1:], strict=True)
    return tuple(0 if size == 1 else stride for size, stride in dims)


def _is_dense(shape: Sequence[int], strides: Sequence[int], *, contiguous: bool) -> bool:
    """Whether the sample fills one stretch of memory, and in logical order where `contiguous`."""
    dims = [(stride, size) for stride, size in zip(strides, shape, strict=True) if size != 1]
    if not contiguous:
        dims.sort(reverse=True)
    expected = 1
    for stride, size in reversed(dims):
        if stride != expected:
            return False
        expected *= size
    return True


def is_wide(*tensors: Tensor | None) -> bool:
    """Whether offsets within a sample of one of them need 64 bits."""
    return any(tensor is not None and _reach(tensor) >= INT32_LIMIT for tensor in tensors)


def _reach(tensor: Tensor) -> int:
    return sum(
        (size - 1) * abs(stride) for size, stride in zip(tensor.shape[1:], tensor.stride()[1:], strict=True)
    )


@triton.jit
def tile_elements(tile, channels, positions, ORDER: tl.constexpr, QUADS: tl.constexpr, WIDE: tl.constexpr):
    """A tile's elements: Philox blocks (Q,), channels and positions (4Q,), and which of them exist (4Q,)."""
    block = tile * QUADS + tl.arange(0, QUADS)
    element = tile * (QUADS * 4) + tl.arange(0, QUADS * 4)
    if WIDE:
        block = tile.to(tl.int64) * QUADS + tl.arange(0, QUADS)
        element = tile.to(tl.int64) * (QUADS * 4) + tl.arange(0, QUADS * 4)
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
