"""Lists of tensors for Triton kernels: one launch a dtype goes through all of them by a table of their addresses.

A row of the table, int64 on the device: the tensors' addresses, the number of their elements, and a number of the call
as the bits of its float64. Programs are tensors × SHARE; those of one tensor take its tiles in turn.

A training step makes the same calls again and again: the table of one that was made before is on the device already.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.target import warps_of

SHARE = 32
"""Programs a tensor: a network's largest of some million elements then have a few hundred tiles a program."""
TILE = 1024
THREADS = 128
KEPT = 64
"""Tables that are kept; of a network with a thousand tensors each is some 30 kB."""

_TYPES = {
    torch.float32: tl.float32,
    torch.float64: tl.float64,
    torch.bfloat16: tl.bfloat16,
    torch.float16: tl.float16,
}


class Table(NamedTuple):
    """What a launch needs: the rows, a grid, and the constants that kernels share."""

    rows: Tensor
    grid: tuple[int, int]
    constants: dict[str, Any]


def tables(lists: Sequence[Sequence[Tensor]], number: float) -> Iterator[Table]:
    """One a combination of dtypes, of tensors that are dense, those of one place in the same order of memory."""
    groups = sorted(zip(*lists, strict=True), key=_dtypes)
    bits = int.from_bytes(struct.pack("<d", number), "little", signed=True)
    for dtypes, places in groupby(groups, _dtypes):
        rows = [(*(t.data_ptr() for t in place), place[0].numel(), bits) for place in places]
        aligned = all(address % 16 == 0 for row in rows for address in row[:-2])
        names = dtypes.split()
        types = [_TYPES[getattr(torch, name)] for name in names]
        yield Table(
            rows_on(lists[0][0].device, rows),
            (len(rows), SHARE),
            {
                **{f"TYPE{i}": kind for i, kind in enumerate(types)},
                "COMPUTE": tl.float64 if types[0] == tl.float64 else tl.float32,
                "ALIGNED": aligned,
                "TILE": TILE,
                "num_warps": warps_of(THREADS),
                "enable_fp_fusion": True,
            },
        )


def rows_on(device: torch.device, rows: Sequence[tuple[int, ...]]) -> Tensor:
    """A table (rows, columns), int64, on the device: copied from the host where none of these numbers is kept there.

    While a CUDA graph is captured nothing is copied from the host, whose memory a replay would read again, nor are kept
    tables used, which a replay may outlive: the numbers are arguments of kernels in the graph that write them.
    """
    if _is_capturing(device):
        table = torch.zeros(len(rows), len(rows[0]), dtype=torch.int64, device=device)
        torch._foreach_add_(table.view(-1).unbind(), [number for row in rows for number in row])
        return table
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    return _kept(device, stream, tuple(rows))


def _is_capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


@functools.lru_cache(KEPT)
def _kept(device: torch.device, stream: int, rows: tuple[tuple[int, ...], ...]) -> Tensor:
    """By its numbers, which hold whatever lies at these addresses; on another stream it might not be there yet."""
    return torch.tensor(rows, dtype=torch.int64, device="cpu").to(device)


def _dtypes(place: Sequence[Tensor]) -> str:
    return " ".join(str(tensor.dtype).removeprefix("torch.") for tensor in place)


@contextmanager
def dense(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors, or copies of those with gaps in their memory, whose values go back at the end of the block."""
    runs = [tensor if _is_dense(tensor) else tensor.contiguous() for tensor in tensors]
    yield runs
    for tensor, run in zip(tensors, runs, strict=True):
        if run is not tensor:
            tensor.copy_(run)


def ordered_as(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor's values in the order of memory of `like`, which is dense."""
    return (
        tensor
        if tensor.stride() == like.stride()
        else torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
    )


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or torch.empty_like(tensor).stride() == tensor.stride()


@triton.jit
def run_of(row, COLUMN: tl.constexpr, TYPE: tl.constexpr, ALIGNED: tl.constexpr):
    """A pointer to the first element of one of a row's tensors."""
    run = tl.load(row + COLUMN).to(tl.pointer_type(TYPE))
    if ALIGNED:  # of the pointer: what is known of an integer is lost when it becomes one
        run = tl.multiple_of(run, 16)
    return run


@triton.jit
def number_of(row, COLUMN: tl.constexpr):
    """The number of the call, float64."""
    return tl.load(row + COLUMN).to(tl.float64, bitcast=True)


@triton.jit
def in_chunks(numel):
    """How many elements come in whole chunks of 128 bits, of any dtype.

    A mask that ends at this number, which the compiler sees to be a multiple of 16, keeps a chunk's loads together; one
    that ends at `numel` would take them apart. The rest is a tile of its own, `rest_of`.
    """
    return numel // 16 * 16


@triton.jit
def tile_of(tile, end, TILE: tl.constexpr):
    """Offsets of a tile's elements, int64 as `end` and what counts up to it, and which of them are before it."""
    offset = tile * TILE + tl.arange(0, TILE)
    return offset, offset < end


@triton.jit
def rest_of(numel):
    """Offsets of the elements behind whole chunks, and which of them exist."""
    offset = in_chunks(numel) + tl.arange(0, 16)
    return offset, offset < numel
