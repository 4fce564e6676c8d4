"""PyTorch's calls between the kernels that a plan makes as calls of its own: Python between two kernels costs a small
network more than what it calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfuse.ops.memory import empty

_SMALL = 256 << 10
"""Bytes of a result up to which one thread copies faster than several are woken."""
_AXES = 6
_ATEN = torch.ops.aten
_FUNCTIONS = {
    _ATEN.mul.Tensor: "mul",
    _ATEN.add.Tensor: "add",
    _ATEN.sub.Tensor: "sub",
    _ATEN.sin.default: "sin",
    _ATEN.cos.default: "cos",
}
"""Of float32, with the result that IEEE 754 rounds to; PyTorch's sine and cosine may be the float next to it."""


def glued(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The call's result by kernels that a program records, or None for what is PyTorch's to do."""
    if func is _ATEN.cat.default and not kwargs:
        return _concatenated(*args)
    if func is _ATEN.clone.default:
        return _cloned(*args, **kwargs)
    if func is _ATEN._to_copy.default and kwargs == {"dtype": torch.float32}:
        return _computed("from_int64", torch.int64, *args)
    if func is _ATEN.mul.Tensor and args[0].dtype == torch.int64 and isinstance(args[1], Tensor):
        return _computed("mul_int64", torch.int64, *args)
    if func in _FUNCTIONS and not kwargs and len(args) <= 2:
        return _computed(_FUNCTIONS[func], torch.float32, *args)
    return None


def _is_plain(tensor: Any) -> bool:
    """Whether the values are those in memory."""
    if type(tensor) is not Tensor or tensor.is_neg() or tensor.is_conj():
        return False
    return tensor.device.type == "cpu" and 0 < tensor.ndim <= _AXES


def duplicate(to: Tensor, source: Tensor) -> None:
    """Copies values to a tensor of the same form."""
    from genfuse_kernels import _cpu

    is_plain = not (source.is_conj() or source.is_neg())
    if is_plain and source.nbytes <= _SMALL and source.is_contiguous() and to.is_contiguous():
        item = source.itemsize
        _cpu.copy([source.numel()], item, (to.data_ptr(), [item]), (source.data_ptr(), [item]))
    else:
        to.copy_(source)


def _concatenated(tensors: list[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0]
    alike = all(_is_plain(t) and t.dtype == first.dtype and t.ndim == first.ndim for t in tensors)
    if not alike or sum(t.nbytes for t in tensors) > _SMALL:
        return None
    shape = list(first.shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    last = first.ndim == 4 and all(t.is_contiguous(memory_format=torch.channels_last) for t in tensors)
    out = empty(first, shape, first.dtype, channels_last=last and not first.is_contiguous())
    place = 0
    for tensor in tensors:
        _copy(out.narrow(dim, place, tensor.shape[dim]), tensor)
        place += tensor.shape[dim]
    return out


def _cloned(tensor: Tensor, memory_format: torch.memory_format = torch.preserve_format) -> Tensor | None:
    if not _is_plain(tensor) or tensor.nbytes > _SMALL:
        return None
    last = memory_format == torch.channels_last
    if memory_format == torch.preserve_format:
        last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        if not last and not tensor.is_contiguous():
            return None
        last = last and not tensor.is_contiguous()
    elif memory_format not in (torch.contiguous_format, torch.channels_last):
        return None
    out = empty(tensor, tensor.shape, tensor.dtype, channels_last=last)
    _copy(out, tensor)
    return out


def _computed(function: str, dtype: torch.dtype, a: Tensor, b: Any = None) -> Tensor | None:
    """Of dense operands alone: what layout PyTorch gives others is not settled here."""
    from genfuse_kernels import _cpu

    given = [a, b] if isinstance(b, Tensor) else [a]
    if not all(_is_plain(t) and t.dtype == dtype and t.is_contiguous() for t in given):
        return None
    if not isinstance(b, (Tensor, int, float, type(None))):
        return None
    shape: torch.Size = torch.broadcast_shapes(*(t.shape for t in given))  # type: ignore[no-untyped-call]
    if shape.numel() * a.itemsize > _SMALL:
        return None
    out = empty(a, shape, torch.int64 if function == "mul_int64" else torch.float32)
    none: tuple[int, list[int]] = (0, [])
    others = _strided(b.expand(shape)) if isinstance(b, Tensor) else none
    number = float(b) if isinstance(b, (int, float)) else 0.0
    _cpu.elementwise(function, list(shape), _strided(out), _strided(a.expand(shape)), others, number)
    return out


def _copy(to: Tensor, source: Tensor) -> None:
    """Along the result's memory."""
    from genfuse_kernels import _cpu

    order = sorted(range(to.ndim), key=to.stride, reverse=True)
    to, source = to.permute(order), source.permute(order)
    _cpu.copy(list(to.shape), to.itemsize, _strided(to), _strided(source))


def _strided(tensor: Tensor) -> tuple[int, list[int]]:
    return tensor.data_ptr(), [step * tensor.itemsize for step in tensor.stride()]
