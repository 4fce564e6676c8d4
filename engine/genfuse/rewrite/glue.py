"""PyTorch's calls between the kernels that a plan makes as calls of its own: Python between two kernels costs a small
network more than what it calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from genfuse.ops.memory import empty
from genfuse_kernels.bias_act.spec import ACTIVATIONS
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES
from genfuse_kernels.conv_norm_act.spec import DTYPES

_SMALL = 256 << 10
"""Bytes of a result up to which PyTorch's own call costs more than a simple loop."""
_AXES = 6
everything: ContextVar[bool] = ContextVar("genfuse_glue_everything", default=False)
"""Whether large results are made here too: the plan is to run without PyTorch."""
_ATEN = torch.ops.aten
_FUNCTIONS = {
    _ATEN.mul.Tensor: "mul",
    _ATEN.add.Tensor: "add",
    _ATEN.sub.Tensor: "sub",
    _ATEN.div.Tensor: "div",
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
    if func in _ACTIVATIONS:
        return _activated(func, *args, **kwargs)
    make = _LAYOUTS.get(func)
    return None if make is None or kwargs else make(*args)


def _is_left(nbytes: int) -> bool:
    """Whether a result of this size is PyTorch's to make."""
    return nbytes > _SMALL and not everything.get()


def _is_plain(tensor: Any) -> bool:
    """Whether the values are those in memory."""
    if type(tensor) not in (Tensor, Parameter) or tensor.is_neg() or tensor.is_conj():
        return False
    return bool(tensor.device.type == "cpu" and 0 < tensor.ndim <= _AXES)


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
    if not alike or _is_left(sum(t.nbytes for t in tensors)):
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
    if not _is_plain(tensor) or _is_left(tensor.nbytes):
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
    from genfuse_kernels import _cpu

    given = [t for t in (a, b) if isinstance(t, Tensor)]
    if not all(_is_plain(t) and t.dtype == dtype for t in given):
        return None
    if not isinstance(b, (Tensor, int, float, type(None))):
        return None
    # What shape and strides PyTorch gives a sum of these, it gives the other functions' results.
    forms = [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta") for t in given]
    form = forms[0] + forms[-1]
    if _is_left(form.numel() * a.itemsize) or not is_dense(form):
        return None
    out = _empty_like(a.detach(), form, torch.int64 if function == "mul_int64" else torch.float32)
    none: tuple[int, list[int]] = (0, [])
    order = _order(out)
    others = _strided(b.expand(form.shape).permute(order)) if isinstance(b, Tensor) else none
    number = float(b) if isinstance(b, (int, float)) else 0.0
    to, first = out.permute(order), a.expand(form.shape).permute(order)
    sizes, threads = list(to.shape), torch.get_num_threads()
    _cpu.elementwise(function, sizes, _strided(to), _strided(first), others, number, threads)
    return out


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill their memory, in whatever order."""
    step = 1
    for axis in reversed(_order(tensor)):
        if tensor.shape[axis] != 1 and tensor.stride(axis) != step:
            return False
        step *= tensor.shape[axis]
    return True


def _empty_like(like: Tensor, form: Tensor, dtype: torch.dtype) -> Tensor:
    """Room for a result in the order of a dense form, where `like` lies."""
    order = _order(form)
    dense = empty(like, [form.shape[axis] for axis in order], dtype)
    return dense.permute([order.index(axis) for axis in range(form.ndim)])


def _order(tensor: Tensor) -> list[int]:
    """The axes, those farthest apart in memory first."""
    strides = tensor.stride()
    return sorted(range(tensor.ndim), key=lambda axis: (-strides[axis], axis))


def _activated(func: Any, x: Tensor, *numbers: Any, **named: Any) -> Tensor | None:
    """By the kernel of `bias_act`, whose results may be some roundings from PyTorch's: where there is no choice."""
    from genfuse_kernels import _cpu

    if not everything.get() or not _is_plain(x) or x.dtype not in DTYPES or not is_dense(x):
        return None
    activation, slope = _ACTIVATIONS[func], 0.01
    if activation == "leaky_relu":
        slope = float(numbers[0]) if numbers else slope
    elif activation == "gelu":
        activation = "gelu_tanh" if named.pop("approximate", "none") == "tanh" else activation
        if numbers or named:
            return None
    elif numbers not in ((), (1,)) or named:
        return None  # softplus and ELU of another steepness
    out = _empty_like(x.detach(), x, x.dtype)
    sizes, number = (1, 1, x.numel()), ACTIVATIONS.index(activation)
    form = DTYPE_CODES[x.dtype], torch.get_num_threads(), False, sizes, number, slope, 1.0, math.inf
    _cpu.bias_act(*form, x.data_ptr(), out.data_ptr(), 0, 0, 0, 0)
    return out


_ACTIVATIONS = {
    _ATEN.relu.default: "relu",
    _ATEN.leaky_relu.default: "leaky_relu",
    _ATEN.silu.default: "silu",
    _ATEN.gelu.default: "gelu",
    _ATEN.tanh.default: "tanh",
    _ATEN.sigmoid.default: "sigmoid",
    _ATEN.softplus.default: "softplus",
    _ATEN.elu.default: "elu",
}


def _pooled(x: Tensor, kernel: list[int], *others: Any) -> Tensor | None:
    """Average pooling without a border."""
    from genfuse_kernels import _cpu

    stride, padding, ceil, _, divisor = (*others, *_POOLING[len(others) :])
    plain = not any(padding) and not ceil and divisor is None
    if not plain or not _is_plain(x) or x.ndim != 4 or x.dtype != torch.float32:
        return None
    (height, width), (down, across) = _pair(kernel), _pair(stride or kernel)
    windows = x.unfold(2, height, down).unfold(3, width, across)
    if _is_left(x.nbytes) or not _is_image(x):
        return None
    out = empty(x, windows.shape[:4], x.dtype, channels_last=_is_last(x))
    order = _order(out)
    to, windows = out.permute(order), windows.permute(*order, 4, 5)
    _cpu.window(list(windows.shape), _strided(to), _strided(windows), torch.get_num_threads())
    return out


_POOLING: tuple[Any, ...] = ([], [0], False, True, None)


def _enlarged(x: Tensor, size: list[int], *scales: float | None) -> Tensor | None:
    """Nearest neighbours, by powers of two: the scale's rounding decides other ones."""
    if not _is_plain(x) or x.ndim != 4 or _is_left(4 * x.nbytes):
        return None
    n, c, h, w = x.shape
    factors = size[0] // h, size[1] // w
    exact = (size[0], size[1]) == (h * factors[0], w * factors[1])
    if not exact or any(factor & (factor - 1) for factor in factors):
        return None
    if any(scale is not None and scale != factor for scale, factor in zip(scales, factors, strict=False)):
        return None
    out = empty(x, (n, c, *size), x.dtype, channels_last=_is_last(x))
    spread = out.view(n, c, h, factors[0], w, factors[1])
    _copy(spread, x[:, :, :, None, :, None].expand_as(spread))
    return out


def _shuffled(x: Tensor, factor: int) -> Tensor | None:
    if not _is_plain(x) or x.ndim != 4 or _is_left(x.nbytes) or not _is_image(x):
        return None
    n, c, h, w = x.shape
    out = empty(x, (n, c // factor**2, h * factor, w * factor), x.dtype, channels_last=_is_last(x))
    pixels = out.view(n, c // factor**2, h, factor, w, factor)
    _copy(pixels, x.view(n, c // factor**2, factor, factor, h, w).permute(0, 1, 4, 2, 5, 3))
    return out


def _unshuffled(x: Tensor, factor: int) -> Tensor | None:
    if not _is_plain(x) or x.ndim != 4 or _is_left(x.nbytes) or not _is_image(x):
        return None
    n, c, h, w = x.shape
    out = empty(x, (n, c * factor**2, h // factor, w // factor), x.dtype, channels_last=_is_last(x))
    pixels = x.view(n, c, h // factor, factor, w // factor, factor)
    _copy(out.view(n, c, factor, factor, *out.shape[2:]), pixels.permute(0, 1, 3, 5, 2, 4))
    return out


def _looked_up(table: Tensor, index: Tensor, *others: Any) -> Tensor | None:
    """Rows of a table by number. ValueError for a number that it has not."""
    from genfuse_kernels import _cpu

    if not (table.is_contiguous() and index.is_contiguous() and index.dtype == torch.int64):
        return None
    if not _is_plain(index) or table.device.type != "cpu" or _is_left(index.numel() * table[:1].nbytes):
        return None
    out = empty(index, (*index.shape, table.shape[1]), table.dtype)
    row = table.shape[1] * table.itemsize
    _cpu.gather(index.numel(), row, table.shape[0], index.data_ptr(), table.data_ptr(), out.data_ptr())
    return out


_LAYOUTS: dict[Any, Callable[..., Tensor | None]] = {
    _ATEN.avg_pool2d.default: _pooled,
    _ATEN.upsample_nearest2d.default: _enlarged,
    _ATEN.pixel_shuffle.default: _shuffled,
    _ATEN.pixel_unshuffle.default: _unshuffled,
    _ATEN.embedding.default: _looked_up,
}


def _pair(values: list[int]) -> tuple[int, int]:
    return values[0], values[-1]


def _is_last(x: Tensor) -> bool:
    """Whether PyTorch makes a result of this image with its channels last."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _is_image(x: Tensor) -> bool:
    return x.is_contiguous() or _is_last(x)


def _copy(to: Tensor, source: Tensor) -> None:
    """Along the result's memory."""
    from genfuse_kernels import _cpu

    order = _order(to)
    to, source = to.permute(order), source.permute(order)
    _cpu.copy(list(to.shape), to.itemsize, _strided(to), _strided(source), torch.get_num_threads())


def _strided(tensor: Tensor) -> tuple[int, list[int]]:
    return tensor.data_ptr(), [step * tensor.itemsize for step in tensor.stride()]
