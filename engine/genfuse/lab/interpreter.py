"""Triton's interpreter made correct where it is wrong, and made to check what a GPU would not forgive.

Import it in a process that has TRITON_INTERPRET=1 set before Triton is. What it changes (Triton 3.9):

    bfloat16     casts round to nearest even (the interpreter truncates); arithmetic on raw bfloat16, which it
                 would do on the bit patterns, raises
    comparisons  give int1: they keep the operands' dtype, and broadcasting one against a mask then fails
    bounds       each unmasked address lies inside one kernel argument's own elements, and is aligned; of kernels that
                 are handed addresses, inside one of the tensors `within_reach`
    races        no element is written by two programs or two lanes, nor written by one program and read by
                 another
    traffic      bytes read and written, by argument; of each launch its programs, bytes, and arithmetic

    dot          bfloat16 by value; float32 as tensor cores read it: "tf32" without its low 13 bits, "tf32x3" with
                 the products of the rest, of which it drops what is NaN (Triton's F32DotTC)

Calls of device functions are made cheaper. Threads of one program and atomics are not covered.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import triton.language as tl
from numpy.typing import NDArray
from triton.runtime import interpreter as triton_interpreter
from triton.runtime.interpreter import GridExecutor, InterpretedFunction, InterpreterBuilder, TensorHandle
from triton.tools.tensor_descriptor import TensorDescriptor

if os.environ.get("TRITON_INTERPRET") != "1":
    raise RuntimeError("TRITON_INTERPRET is not 1; set it before the process starts")

MANY, NOBODY = -1, -2
"""Stand for more than one program and for none where a program's number is kept."""


@dataclass
class Traffic:
    """Bytes moved by the launches recorded, by the `data_ptr()` of the tensor they touch."""

    loaded: Counter[int] = field(default_factory=Counter)
    stored: Counter[int] = field(default_factory=Counter)
    each: list[Launch] = field(default_factory=list)

    @property
    def launches(self) -> int:
        """How many."""
        return len(self.each)


@dataclass
class Launch:
    """One kernel launch: what it may touch and which program touched what.

    requested  bytes of its loads and stores, lane by lane
    flops      sums, products and functions of floating point that it computed, of masked lanes too
    """

    kernel: str = ""
    programs: int = 0
    extents: list[tuple[int, int]] = field(default_factory=list)
    memory: _Memory | None = None
    patched: set[str] = field(default_factory=set)
    requested: int = 0
    flops: int = 0

    def touched(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Addresses of the elements that were loaded, and of those that were stored, each once."""
        if self.memory is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        of = self.memory
        return of.addresses(of.readers != NOBODY), of.addresses(of.writers != NOBODY)


class _Memory:
    """Which program last wrote and which read each byte of a launch's arguments."""

    def __init__(self, extents: list[tuple[int, int]]) -> None:
        apart: list[tuple[int, int]] = []
        for start, end in sorted(extents):
            if apart and start < apart[-1][1]:
                apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
            else:
                apart.append((start, end))
        self.starts = np.array([start for start, _ in apart], np.int64)
        sizes = np.array([end - start for start, end in apart], np.int64)
        self.firsts = np.cumsum(sizes) - sizes
        self.readers = np.full(sizes.sum(), NOBODY, np.int32)
        self.writers = self.readers.copy()

    def places(self, addresses: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the arrays have what lies at addresses inside the extents."""
        of = np.searchsorted(self.starts, addresses, "right") - 1
        places: NDArray[np.int64] = addresses - self.starts[of] + self.firsts[of]
        return places

    def addresses(self, marked: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The reverse, of the places that are marked."""
        places = np.flatnonzero(marked)
        of = np.searchsorted(self.firsts, places, "right") - 1
        addresses: NDArray[np.int64] = places - self.firsts[of] + self.starts[of]
        return addresses


_launch = Launch()
_traffic: Traffic | None = None


@contextmanager
def record() -> Iterator[Traffic]:
    """Count the bytes that launches inside the block move."""
    global _traffic
    _traffic = Traffic()
    try:
        yield _traffic
    finally:
        _traffic = None


within_reach: list[torch.Tensor] = []
"""What kernels may touch beside their arguments: tensors whose addresses are handed to them in a table."""


def _register(argument: Any) -> None:
    if isinstance(argument, tuple):
        for part in argument:
            _register(part)
    elif isinstance(argument, TensorDescriptor):
        _register(argument.base)
    elif isinstance(argument, torch.Tensor) and argument.numel():
        last = sum(
            (size - 1) * stride for size, stride in zip(argument.shape, argument.stride(), strict=True)
        )
        start = argument.data_ptr()
        _launch.extents.append((start, start + (last + 1) * argument.element_size()))


def _check(builder: Any, pointers: TensorHandle, mask: TensorHandle, access: str) -> None:
    size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
    addresses, enabled = np.broadcast_arrays(pointers.data, mask.data)
    touched = addresses[enabled.astype(bool)].astype(np.int64)
    program = _program(builder)
    if (touched % size).any():
        raise IndexError(f"misaligned {access} in program {program}")
    _launch.requested += touched.size * size
    inside = np.zeros(touched.shape, dtype=bool)
    for start, end in dict.fromkeys(_launch.extents):
        here = (touched >= start) & (touched + size <= end)
        if _traffic is not None:
            (_traffic.loaded if access == "load" else _traffic.stored)[start] += (
                int((here & ~inside).sum()) * size
            )
        inside |= here
    if not inside.all():
        raise IndexError(f"out-of-bounds {access} of {(~inside).sum()} lanes in program {program}")
    _check_races(touched, program, access)


def _program(builder: Any) -> int:
    x, y, z = builder.grid_idx
    _, grid_y, grid_z = builder.grid_dim
    return int((x * grid_y + y) * grid_z + z)


def _check_races(touched: NDArray[np.int64], program: int, access: str) -> None:
    if access == "store" and np.unique(touched).size < touched.size:
        raise RuntimeError(f"race: two lanes of program {program} write the same element")
    if _launch.memory is None:
        _launch.memory = _Memory(_launch.extents)
    memory = _launch.memory
    places = memory.places(touched)
    writers = memory.writers[places]
    others = writers[(writers != program) & (writers != NOBODY)]
    if others.size:
        raise RuntimeError(
            f"race: {access} in program {program} of an element that program {others[0]} wrote"
        )
    readers = memory.readers[places]
    foreign = (readers != program) & (readers != NOBODY)
    if access == "load":
        memory.readers[places] = np.where(foreign, MANY, program)
        return
    if foreign.any():
        raise RuntimeError(f"race: store in program {program} of an element that another program reads")
    memory.writers[places] = program


def _is_bfloat16(handle: Any) -> bool:
    return isinstance(handle, TensorHandle) and handle.dtype.scalar == tl.bfloat16


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """float32 rounded to nearest even, as bfloat16 bit patterns."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def _correct_casts() -> None:
    original = InterpreterBuilder.cast_impl
    original_fp_to_fp = InterpreterBuilder.create_fp_to_fp

    def cast_impl(self: Any, source: TensorHandle, target: Any) -> TensorHandle:
        if _is_bfloat16(source) and target.scalar != tl.bfloat16:
            widened = (source.data.astype(np.uint32) << 16).view(np.float32)
            return original(self, TensorHandle(widened, tl.float32), target)
        if target.scalar == tl.bfloat16 and not _is_bfloat16(source):
            return TensorHandle(bfloat16_bits(source.data.astype(np.float32)), tl.bfloat16)
        return original(self, source, target)

    def create_fp_to_fp(self: Any, source: TensorHandle, target: Any, rounding: Any) -> TensorHandle:
        if tl.bfloat16 in (source.dtype.scalar, target.scalar):
            return cast_impl(self, source, target)
        return original_fp_to_fp(self, source, target, rounding)

    InterpreterBuilder.cast_impl = cast_impl
    InterpreterBuilder.create_fp_to_fp = create_fp_to_fp


_COMPARISONS = (np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal)


def _correct_arithmetic() -> None:
    for name in ("binary_op", "unary_op", "ternary_op"):
        original = getattr(InterpreterBuilder, name)

        def guarded(self: Any, *operands: Any, original: Any = original) -> TensorHandle:
            operation = operands[-1]
            if operation is not np.where and any(_is_bfloat16(operand) for operand in operands):
                raise TypeError(
                    "arithmetic on bfloat16 in the interpreter; upcast with .to(tl.float32) after the load"
                )
            result = original(self, *operands)
            if operation is not np.where and result.data.dtype.kind == "f":
                _launch.flops += result.data.size * (len(operands) - 2 or 1)
            return TensorHandle(result.data, tl.int1) if operation in _COMPARISONS else result

        setattr(InterpreterBuilder, name, guarded)


def _without_low_bits(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return (np.ascontiguousarray(values).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def _correct_dot() -> None:
    def values(handle: TensorHandle) -> Any:
        widened = handle.data
        if _is_bfloat16(handle):
            widened = (widened.astype(np.uint32) << 16).view(np.float32)
        return widened.astype(np.float32)

    def create_dot(self: Any, a: Any, b: Any, d: Any, precision: Any, most_imprecise: Any) -> TensorHandle:
        left, right = values(a), values(b)
        _launch.flops += 2 * left.size * right.shape[-1]
        if a.dtype.scalar == tl.float32 and "TF32" in str(precision):
            high_left, high_right = _without_low_bits(left), _without_low_bits(right)
            product = high_left @ high_right
            if "x3" in str(precision).lower():
                low_left, low_right = (
                    _without_low_bits(np.nan_to_num(whole - high))
                    for whole, high in ((left, high_left), (right, high_right))
                )
                lesser = low_left @ high_right + high_left @ low_right
                product = np.where(np.isnan(lesser), 0, lesser) + product
        else:
            product = left @ right
        return TensorHandle(product + d.data, d.dtype.scalar)

    InterpreterBuilder.create_dot = create_dot


def _shorten_calls() -> None:
    """Each call of a device function would patch `triton.language`; once a launch and module is enough."""

    def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        if self.fn.__module__ not in _launch.patched:
            _launch.patched.add(self.fn.__module__)
            triton_interpreter._patch_lang(self.fn)
        return self.rewrite()(*arguments, **keywords)

    InterpretedFunction.__call__ = call


def _instrument() -> None:
    init_arguments = GridExecutor._init_args_hst
    masked_load = InterpreterBuilder.create_masked_load
    masked_store = InterpreterBuilder.create_masked_store

    def _init_args_hst(self: Any, arguments: Any, keywords: Any) -> Any:
        global _launch
        _launch = Launch(self.fn.__name__, math.prod(self.grid))
        if _traffic is not None:
            _traffic.each.append(_launch)
        on_host = init_arguments(self, arguments, keywords)
        _register((*on_host[0], *on_host[1].values(), *within_reach))
        return on_host

    def create_masked_load(self: Any, pointers: Any, mask: Any, *rest: Any, **options: Any) -> Any:
        _check(self, pointers, mask, "load")
        return masked_load(self, pointers, mask, *rest, **options)

    def create_masked_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        _check(self, pointers, mask, "store")
        return masked_store(self, pointers, value, mask, *rest)

    GridExecutor._init_args_hst = _init_args_hst
    InterpreterBuilder.create_masked_load = create_masked_load
    InterpreterBuilder.create_masked_store = create_masked_store


if not getattr(triton_interpreter, "genfuse_corrected", False):
    triton_interpreter.genfuse_corrected = True
    _correct_casts()
    _correct_arithmetic()
    _correct_dot()
    _shorten_calls()
    _instrument()
