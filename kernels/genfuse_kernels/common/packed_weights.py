"""What is made of weights once and kept as long as they live: packed in the order that a CPU kernel reads them, say.

A change in place is noticed by data pointer, version and, because edits through `.data` and of inference tensors
escape the version counter, by a checksum over 16 cache lines spread over the weight: every edit of a whole tensor is
seen. An edit through `.data` that meets none of the lines is not, be it a stretch of nearly 1/15 of the weight; of a
weight of up to 1024 bytes all is read. Of a view with gaps the lines are spread over the gaps too, and where all
lie there, an edit through `.data` of the view's own elements alone goes unseen. `refresh` forgets what was made.

Weights that are trained change with every step: what is made of them is used at once and not kept (`passing`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from genfuse_kernels import _cpu

Stamp = tuple[int, int, int]

Made = TypeVar("Made", bound=Tensor | tuple[Tensor, ...])

_kept: WeakIdKeyDictionary = WeakIdKeyDictionary()

on_use: ContextVar[Callable[[tuple[Tensor, ...], Tensor | tuple[Tensor, ...]], None] | None] = ContextVar(
    "genfuse_packed", default=None
)
"""Told of the weights and of what was made of them, whenever a kernel is given it, where a plan is being made."""


_anew: ContextVar[bool] = ContextVar("genfuse_packed_anew", default=False)


@contextmanager
def anew() -> Iterator[None]:
    """Inside, nothing made earlier is taken, nothing is kept: the memory of weights may have been refilled unseen."""
    token = _anew.set(True)
    try:
        yield
    finally:
        _anew.reset(token)


_passing: ContextVar[bool] = ContextVar("genfuse_packed_passing", default=False)


@contextmanager
def passing(weight: Tensor | None) -> Iterator[None]:
    """Inside, what is made of a weight that needs a gradient is not kept: each is used before the next is made."""
    token = _passing.set(_passing.get() or (weight is not None and weight.requires_grad))
    try:
        yield
    finally:
        _passing.reset(token)


def is_passing() -> bool:
    """Whether what is made of a weight is not kept."""
    return _passing.get()


def dense(weight: Tensor) -> Tensor:
    """The weight, contiguous, as packing reads it: float32 or bfloat16."""
    read = weight.dtype in (torch.float32, torch.bfloat16)
    return (weight.detach() if read else weight.detach().to(torch.float32)).contiguous()


def packed(weight: Tensor, key: Hashable, pack: Callable[[Tensor], Tensor]) -> Tensor:
    """`derived` from the `dense` weight."""
    return derived((weight,), key, lambda: pack(dense(weight)))


def derived(weights: tuple[Tensor, ...], key: Hashable, make: Callable[[], Made]) -> Made:
    """What `make()` returned last for these weights and this key, made anew where one of the weights has changed.

    weights  on the CPU; what was made lives as long as the first of them
    key      everything else that it depends on
    """
    if _anew.get() or _passing.get():
        with torch.no_grad():
            return make()
    kept = _kept.setdefault(weights[0], {})
    whole = (key, *map(id, weights[1:]))
    stamps = tuple(map(_stamp, weights))
    entry = kept.get(whole)
    if entry is None or entry[0] != stamps:
        with torch.no_grad():
            entry = (stamps, make())
        kept[whole] = entry
    made: Made = entry[1]
    told = on_use.get()
    if told is not None:
        told(weights, made)
    return made


def refresh(weight: Tensor | None = None) -> None:
    """Forget what was made of this weight, or of all: for edits of a part through `.data`."""
    if weight is None:
        _kept.clear()
    else:
        _kept.pop(weight, None)


def packed_bytes() -> int:
    """Memory that it takes."""
    return sum(t.nbytes for kept in _kept.values() for entry in kept.values() for t in tree_leaves(entry[1]))


def _stamp(weight: Tensor) -> Stamp:
    return weight.data_ptr(), version(weight), _cpu.checksum(weight.data_ptr(), memory_bytes(weight))


def version(tensor: Tensor) -> int:
    """Counts edits in place, but those through `.data`; 0 of an inference tensor, which has no counter."""
    return 0 if tensor.is_inference() else tensor._version


def memory_bytes(tensor: Tensor) -> int:
    """Bytes from the tensor's first element to the end of its last one, gaps included, within its storage."""
    elements = tensor.numel()
    if elements > 0 and not tensor.is_contiguous():
        elements = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    storage = int(tensor.untyped_storage().nbytes()) - int(tensor.storage_offset()) * tensor.element_size()
    return min(elements * tensor.element_size(), storage)
