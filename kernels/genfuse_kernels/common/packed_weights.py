"""Weights in the order that a CPU kernel reads them, packed once and kept as long as the weight lives.

A change in place is noticed by data pointer, version and, because edits through `.data` and of inference tensors
escape the version counter, by a checksum over 16 cache lines spread over the weight: every edit of a whole tensor is
seen, an edit of single elements through `.data` may not be. `refresh` forgets what was packed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from genfuse_kernels import _cpu

Stamp = tuple[int, int, int]

_packed: WeakIdKeyDictionary = WeakIdKeyDictionary()

on_use: ContextVar[Callable[[Tensor, Tensor], None] | None] = ContextVar("genfuse_packed", default=None)
"""Told of each (weight, packed weight) that a kernel is given, where a plan is being made."""


def packed(weight: Tensor, key: Hashable, pack: Callable[[Tensor], Tensor]) -> Tensor:
    """What `pack(weight)` returned last for this key, packed anew where the weight has changed.

    weight  on the CPU
    key     everything else that the packing depends on
    pack    gets the weight as contiguous float32
    """
    kept = _packed.setdefault(weight, {})
    stamp = _stamp(weight)
    entry = kept.get(key)
    if entry is None or entry[0] != stamp:
        with torch.no_grad():
            entry = (stamp, pack(weight.detach().to(torch.float32).contiguous()))
        kept[key] = entry
    packed: Tensor = entry[1]
    told = on_use.get()
    if told is not None:
        told(weight, packed)
    return packed


def refresh(weight: Tensor | None = None) -> None:
    """Forget what was packed of this weight, or of all: for edits of single elements through `.data`."""
    if weight is None:
        _packed.clear()
    else:
        _packed.pop(weight, None)


def packed_bytes() -> int:
    """Memory that packed weights hold."""
    return sum(entry[1].nbytes for kept in _packed.values() for entry in kept.values())


def _stamp(weight: Tensor) -> Stamp:
    return weight.data_ptr(), version(weight), _cpu.checksum(weight.data_ptr(), memory_bytes(weight))


def version(tensor: Tensor) -> int:
    """Counts edits in place, but those through `.data`; 0 of an inference tensor, which has no counter."""
    return 0 if tensor.is_inference() else tensor._version


def memory_bytes(tensor: Tensor) -> int:
    """Bytes from the tensor's first element on that are surely its own storage's."""
    storage = int(tensor.untyped_storage().nbytes()) - int(tensor.storage_offset()) * tensor.element_size()
    return min(tensor.numel() * tensor.element_size(), storage)
