"""PyTorch's calls between the kernels that a plan makes as calls of its own: Python between two kernels costs a small
network more than what it calls."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from genfuse.ops.memory import empty

_SMALL = 256 << 10
"""Bytes of a result up to which one thread copies faster than several are woken."""


def glued(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The call's result by kernels that a program records, or None for what is PyTorch's to do."""
    if func is torch.ops.aten.cat.default and not kwargs:
        return _concatenated(*args)
    return None


def _concatenated(tensors: list[Tensor], dim: int = 0) -> Tensor | None:
    from genfuse_kernels import _cpu

    first = tensors[0]
    alike = all(
        type(t) is Tensor and t.is_contiguous() and t.dtype == first.dtype and t.ndim == first.ndim
        for t in tensors
    )
    if not alike or first.device.type != "cpu" or sum(t.nbytes for t in tensors) > _SMALL:
        return None
    dim %= first.ndim
    shape = list(first.shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    out = empty(first, shape, first.dtype)
    rows, pitch = math.prod(shape[:dim]), math.prod(shape[dim:]) * first.itemsize
    place = out.data_ptr()
    for tensor in tensors:
        row = tensor.nbytes // max(rows, 1)
        _cpu.copy_rows(place, pitch, tensor.data_ptr(), rows, row)
        place += row
    return out
