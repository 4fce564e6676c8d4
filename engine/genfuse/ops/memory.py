"""Where ops get the memory of their results: PyTorch's allocator, or the pool of a plan that is being made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

Allocator = Callable[[Sequence[int], Sequence[int], torch.dtype], Tensor]
"""(sizes, strides, dtype) to a tensor on the CPU."""

_allocator: ContextVar[Allocator | None] = ContextVar("genfuse_allocator", default=None)


def empty(like: Tensor, shape: Sequence[int], dtype: torch.dtype, channels_last: bool = False) -> Tensor:
    """A tensor on `like`'s device, without values."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    allocate = _allocator.get()
    if allocate is None or like.device.type != "cpu" or type(like) is not Tensor:
        return torch.empty(tuple(shape), dtype=dtype, device=like.device, memory_format=layout)
    form = torch.empty(tuple(shape), dtype=dtype, device="meta", memory_format=layout)
    return allocate(form.shape, form.stride(), dtype)


def empty_stats(x: Tensor, channels: int, wanted: bool) -> Tensor:
    """Room for the statistics of a result of this many channels, or nothing."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return empty(x, (x.shape[0], channels, 2) if wanted else (0,), dtype)


@contextmanager
def allocated_by(allocate: Allocator) -> Iterator[None]:
    """Inside, results of ops on the CPU are made by `allocate`."""
    token = _allocator.set(allocate)
    try:
        yield
    finally:
        _allocator.reset(token)
