"""Checks that the ops share: each names the argument, what it got and what it expected."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

_FLOATING = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def dense(name: str, tensor: Tensor, form: object) -> None:
    """TypeError for anything but a tensor in strided memory; `form` says which was expected."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is {type(tensor).__name__}, expected a tensor {form}")
    if tensor.layout is not torch.strided or tensor.is_nested:
        layout = "nested" if tensor.is_nested else tensor.layout
        raise TypeError(f"{name} has layout {layout}, expected a dense tensor {form}")


def sample(name: str, tensor: Tensor) -> None:
    """A batch of samples: floating, at least one dimension."""
    dense(name, tensor, "(N, ...)")
    if tensor.dtype not in _FLOATING:
        raise TypeError(f"{name} has dtype {tensor.dtype}, expected float32, float64, bfloat16 or float16")
    if tensor.ndim < 1:
        raise ValueError(f"{name} has shape (), expected (N, ...): the first axis is the batch")


def device(name: str, place: torch.device | str) -> torch.device:
    """A device that tensors can be made on here. ValueError for any other."""
    try:
        found = torch.device(place)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"{name} is {str(place)!r}, which is not here: {str(error).splitlines()[0]}"
        ) from None
    if found.type == "meta":
        raise ValueError(f"{name} is 'meta', which holds no values, expected cpu, cuda, cuda:1, ...")
    return found


def valued(name: str, tensor: Tensor) -> None:
    """TypeError for a tensor on the meta device, where no values are."""
    if tensor.device.type == "meta":
        raise TypeError(
            f"{name} is on meta, which holds no values, expected a tensor on cpu, cuda, cuda:1, ..."
        )


def number(name: str, value: object) -> None:
    """TypeError for anything but a real number."""
    if type(value) is float:  # what most are, without Python's slow question for abstract types
        return
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {reprlib.repr(value)}, expected a number")


def as_float(name: str, value: Any) -> float:
    """A real number of any kind as Python's, infinite where no float is as large. TypeError for anything else."""
    number(name, value)
    try:
        return float(value)
    except OverflowError:  # of an int
        return math.inf if value > 0 else -math.inf


def finite(name: str, value: float) -> None:
    """TypeError for anything but a real number, ValueError for NaN and what no float holds."""
    if not math.isfinite(as_float(name, value)):
        raise ValueError(f"{name} is {value}, expected a finite number")


def integer(name: str, value: object) -> None:
    """TypeError for anything but a whole number."""
    if type(value) is int:
        return
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} is {reprlib.repr(value)}, expected a whole number")


def seed(value: int) -> None:
    """TypeError for anything but a whole number, ValueError for one that is no key of Philox."""
    integer("seed", value)
    if not 0 <= value < 2**63:
        raise ValueError(f"seed is {value}, expected an int in [0, 2**63)")


def flag(name: str, value: object) -> None:
    """TypeError for anything but True and False."""
    if value is not True and value is not False:
        raise TypeError(f"{name} is {reprlib.repr(value)}, expected True or False")


def count(name: str, value: int, least: int = 1) -> None:
    """TypeError for anything but a whole number, ValueError for one below `least`."""
    integer(name, value)
    if value < least:
        raise ValueError(f"{name} is {value}, expected {least} or more")


def not_negative(name: str, value: float) -> None:
    """ValueError for one below 0, and for NaN."""
    if not value >= 0:
        raise ValueError(f"{name} is {value}, expected 0 or more")


def counts(name: str, values: Sequence[int]) -> None:
    """Whole numbers, at least one of them, each 1 or more: the widths of a network, for example."""
    if not isinstance(values, tuple | list) or not values:
        raise ValueError(f"{name} is {values!r}, expected a tuple of whole numbers, at least one")
    for place, value in enumerate(values):
        count(f"{name}[{place}]", value)


def like(
    name: str, tensor: Tensor | None, x: Tensor, shape: tuple[int, ...] | None = None, model: str = "x"
) -> None:
    """Same shape, dtype and device as x, which the user calls `model`; absent is fine."""
    if tensor is None:
        return
    dense(name, tensor, f"like {model}")
    expected = tuple(x.shape) if shape is None else shape
    if tuple(tensor.shape) != expected:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {expected} as {model}")
    if tensor.dtype != x.dtype:
        raise TypeError(
            f"{name} has dtype {tensor.dtype}, expected {x.dtype} as {model}; cast it with .to({model}.dtype)"
        )
    same_device(name, tensor, x, model)


def same_device(name: str, tensor: Tensor, x: Tensor, model: str = "x") -> None:
    """On x's device."""
    if tensor.device != x.device:
        raise ValueError(
            f"{name} is on {tensor.device}, expected {x.device} as {model}; move it with .to({model}.device)"
        )


def not_negated(name: str, tensor: Tensor | None) -> None:
    """A tensor to write to, whose memory holds its values and not their negatives; absent is fine.

    Not asked while a call is traced: what torch.compile writes to is its own.
    """
    if tensor is not None and not torch.compiler.is_compiling() and tensor.is_neg():
        raise ValueError(f"{name} is a negated view, expected a tensor with its own memory; pass a copy")


def seeds(tensor: Tensor | None, batch: int, x: Tensor | None = None) -> None:
    """int64 (N,), one seed a sample; absent is fine."""
    if tensor is None:
        return
    if not isinstance(tensor, Tensor):
        raise TypeError(f"seeds is {type(tensor).__name__}, expected an int64 tensor ({batch},)")
    dense("seeds", tensor, "of int64")
    if tensor.dtype != torch.int64:
        raise TypeError(f"seeds has dtype {tensor.dtype}, expected torch.int64")
    if tuple(tensor.shape) != (batch,):
        raise ValueError(f"seeds has shape {tuple(tensor.shape)}, expected ({batch},): one seed a sample")
    if x is not None:
        same_device("seeds", tensor, x)


def word(name: str, value: int) -> None:
    """A 32-bit word of the Philox counter."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is {type(value).__name__}, expected an int in [0, 2**32)")
    if not 0 <= value < 2**32:
        raise ValueError(f"{name} is {value}, expected an int in [0, 2**32)")


def index(name: str, value: int | Tensor, batch: int, rows: int, x: Tensor) -> None:
    """A row of the table for all samples (int), or one a sample (int64 (N,); its values: `in_range`)."""
    if isinstance(value, Tensor):
        dense(name, value, "of int64")
        if value.dtype != torch.int64:
            raise TypeError(f"{name} has dtype {value.dtype}, expected torch.int64")
        if value.numel() not in (1, batch) or value.ndim > 1:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}, expected () or ({batch},): a row a sample"
            )
        same_device(name, value, x)
        return
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {type(value).__name__}, expected an int or an int64 tensor")
    row(name, value, rows)


def row(name: str, value: int, rows: int) -> None:
    """One row of a table for all samples."""
    if isinstance(value, bool | Tensor) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {type(value).__name__}, expected an int")
    if not 0 <= value < rows:
        raise ValueError(f"{name} is {value}, expected a row of the table in [0, {rows})")


def in_range(name: str, value: Tensor | None, stop: int, what: str) -> None:
    """Every value in [0, stop), looked at when the kernel is launched and not while a call is traced.

    Values on a GPU are not read (that would synchronise): there, a sample whose row is out of range comes out
    as NaN.
    """
    if value is None or value.device.type != "cpu" or value.numel() == 0:
        return
    low, high = (int(v) for v in torch.aminmax(value))
    if low < 0 or high >= stop:
        raise ValueError(f"{name} is {low if low < 0 else high}, expected {what} in [0, {stop})")


def writable(
    name: str, tensor: Tensor, inputs: dict[str, Tensor | None], outputs: dict[str, Tensor | None]
) -> None:
    """An output that may be an input itself, element for element, but overlaps none in any other way.

    It overlaps no other output at all, and no two of its elements share memory.
    """
    if not tensor.is_contiguous() and overlaps_itself(tensor):
        raise ValueError(
            f"{name} overlaps itself in memory (strides {tensor.stride()}), expected a place for each element"
        )
    begin, end = extent(tensor)
    for others, same_is_fine in ((inputs, True), (outputs, False)):
        for other_name, other in others.items():
            if other is None or other.numel() == 0 or tensor.numel() == 0:
                continue
            if same_is_fine and other.data_ptr() == tensor.data_ptr() and other.stride() == tensor.stride():
                continue
            low, high = extent(other)
            if begin < high and low < end:
                excuse = " without being the same tensor" if same_is_fine else ""
                raise ValueError(f"{name} overlaps {other_name} in memory{excuse}; pass a copy")


def overlaps_itself(tensor: Tensor) -> bool:
    """Whether two elements have one address: never where each stride passes all that smaller ones reach."""
    if tensor.numel() == 0:
        return False
    axes = sorted(axis for axis in zip(tensor.stride(), tensor.shape, strict=True) if axis[1] > 1)
    reach, nested = 0, True
    for stride, size in axes:
        nested &= stride > reach
        reach += stride * (size - 1)
    if nested or axes[0][0] == 0:
        return not nested
    touched = torch.zeros(reach + 1, dtype=torch.bool, device="cpu")
    touched.as_strided([size for _, size in axes], [stride for stride, _ in axes]).fill_(True)
    return int(touched.count_nonzero()) < tensor.numel()


def extent(tensor: Tensor) -> tuple[int, int]:
    """First byte and one past the last byte that the tensor can touch."""
    last = sum(stride * (size - 1) for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
    begin = tensor.data_ptr()
    return begin, begin + (last + 1) * tensor.element_size()
