"""Where ops get the memory of their results: PyTorch's allocator, a cache of large blocks on the CPU, or the pool of a
plan that is being made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from genfuse.env import backend_missing

Allocator = Callable[[Sequence[int], Sequence[int], torch.dtype], Tensor]
"""(sizes, strides, dtype) to a tensor on the CPU."""

_allocator: ContextVar[Allocator | None] = ContextVar("genfuse_allocator", default=None)


_LEAST_BYTES = 4 << 20
"""Of a result in a block of the cache: smaller ones the C library keeps by itself."""


def empty(like: Tensor, shape: Sequence[int], dtype: torch.dtype, channels_last: bool = False) -> Tensor:
    """A tensor on `like`'s device, without values."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    allocate = None
    if like.device.type == "cpu" and type(like) is Tensor:  # traced, it would become a guard on the batch
        allocate = _allocator.get() or _allocator_for(math.prod(shape) * dtype.itemsize)
    if allocate is None:
        return torch.empty(tuple(shape), dtype=dtype, device=like.device, memory_format=layout)
    form = torch.empty(tuple(shape), dtype=dtype, device="meta", memory_format=layout)
    return allocate(form.shape, form.stride(), dtype)


def empty_like(x: Tensor) -> Tensor:
    """A tensor of x's sizes, strides where they are dense, dtype and device, without values."""
    is_plain = x.device.type == "cpu" and type(x) is Tensor
    allocate = _allocator.get() or _allocator_for(x.nbytes) if is_plain else None
    if allocate is None:
        return torch.empty_like(x)
    return allocate(x.shape, torch.empty_like(x, device="meta").stride(), x.dtype)


def empty_stats(x: Tensor, channels: int, wanted: bool) -> Tensor:
    """Room for the statistics of a result of this many channels, or nothing."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return empty(x, (x.shape[0], channels, 2) if wanted else (0,), dtype)


def empty_cache() -> None:
    """Returns the memory that is kept for large results on the CPU, and is free, to the system."""
    if backend_missing("cpu") is None:
        from genfuse_kernels import _cpu

        _cpu.empty_block_cache()


def set_cache_limit(nbytes: int) -> None:
    """How many bytes of free memory are kept for large results on the CPU, 512 MiB until this is called.

    Results of 4 MiB and more lie in blocks that are used again once no tensor is left in them. The C library returns
    such blocks to the system instead, which fills each page with zeros before a process gets it again: a third of the
    time of a convolution. 0 keeps nothing. Such a tensor cannot grow in place (`resize_`).

    Raises ValueError where `nbytes` is not an int of at least 0.
    """
    if not isinstance(nbytes, int) or isinstance(nbytes, bool) or not 0 <= nbytes < 1 << 63:
        raise ValueError(f"nbytes is {nbytes!r}, expected an int of at least 0: bytes of free memory to keep")
    if backend_missing("cpu") is None:
        from genfuse_kernels import _cpu

        _cpu.set_block_limit(nbytes)


def _allocator_for(nbytes: int) -> Allocator | None:
    """The cache, for a result it is made for; under deterministic algorithms PyTorch fills what it hands out."""
    if (
        nbytes < _LEAST_BYTES
        or torch.are_deterministic_algorithms_enabled()
        or backend_missing("cpu") is not None
    ):
        return None
    return _in_block


def _in_block(shape: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
    from genfuse_kernels import _cpu

    try:
        block = torch.frombuffer(_cpu.ResultBlock(math.prod(shape) * dtype.itemsize), dtype=torch.uint8)
    except MemoryError:  # PyTorch has what there is, or says how much there is not
        return torch.empty_strided(tuple(shape), tuple(stride), dtype=dtype, device="cpu")
    return torch.empty(0, dtype=dtype, device="cpu").set_(
        block.untyped_storage(), 0, tuple(shape), tuple(stride)
    )


@contextmanager
def allocated_by(allocate: Allocator) -> Iterator[None]:
    """Inside, results of ops on the CPU are made by `allocate`."""
    token = _allocator.set(allocate)
    try:
        yield
    finally:
        _allocator.reset(token)
