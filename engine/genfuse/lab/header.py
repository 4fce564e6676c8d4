"""The C header of an op's kernel, made from its contract, and a call's arguments as that header has them in memory.

Every number is of 64 bits, so that neither side puts anything between two of them.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from genfuse.errors import UnsupportedError
from genfuse.lab.contract import Contract, contract

INCLUDE = Path(__file__).parent / "include"
"""The folder of genfuse/kernel.h, which every header of an op includes."""

AXES = 8
"""That a tensor may have at most: GENFUSE_AXES of kernel.h."""

DTYPE_CODES = {
    torch.float32: 0,
    torch.float64: 1,
    torch.bfloat16: 2,
    torch.float16: 3,
    torch.int64: 4,
    torch.bool: 5,
}
"""`genfuse_dtype` of kernel.h."""

_TENSOR = f"Pii{AXES}q{AXES}q"
_ABSENT = (0, 0, 0, *(0,) * (2 * AXES))
_C_TYPES = {
    "int": "int64_t {}",
    "bool": "int64_t {}",
    "float": "double {}",
    "pair": "int64_t {}[2]",
    "quad": "int64_t {}[4]",
}


class Field(NamedTuple):
    """One of an op's settings: its form in C, and the names that its numbers stand for."""

    name: str
    declaration: str
    names: tuple[str, ...]
    absent: float | None


def text(op: str) -> str:
    """genfuse/<op>.h: the contract in words, the settings' names, and the struct that a kernel is called with."""
    of = contract(op)
    words = "\n".join(f" * {line}".rstrip() for line in of.text.replace("*/", "* /").splitlines())
    lines = [
        f"/* Made by genfuse from the contract of {op}; nothing here is to be edited.",
        " *",
        words,
        " */",
    ]
    lines += ["#pragma once", '#include "genfuse/kernel.h"', ""]
    if any(argument.kind == "settings" for argument in of.arguments):
        lines += _settings_text(of)
    lines.append("typedef struct {")
    for argument in of.arguments:
        lines += [f"    {declaration};" for declaration in _declarations(argument.name, argument.kind)]
    lines += ["    int64_t threads; /* that PyTorch is set to use */", "} genfuse_args;", ""]
    return "\n".join([*lines, f"#define GENFUSE_OP {op}", ""])


def _declarations(name: str, kind: str) -> list[str]:
    if kind == "tensor":
        return [f"genfuse_tensor {name}"]
    if kind == "tensors":
        return [f"const genfuse_tensor* {name}", f"int64_t {name}_count"]
    if kind == "ints":
        return [f"const int64_t* {name}", f"int64_t {name}_count"]
    if kind == "rows":
        return [
            f"int64_t {name}",
            f"const int64_t* {name}_of_sample /* (N,); NULL: `{name}` is everybody's */",
        ]
    return ["genfuse_settings settings"] if kind == "settings" else [_C_TYPES[kind].format(name)]


def _settings_text(of: Contract) -> list[str]:
    lines = ["typedef struct {"]
    names: dict[str, list[str]] = {}
    for field in _fields(of.op):
        lines.append(f"    {field.declaration};")
        if field.names:
            prefix = field.name.removeprefix("out_").upper()
            names[prefix] = [f"GENFUSE_{prefix}_{each.upper()} = {i}" for i, each in enumerate(field.names)]
    enums = [f"enum {{ {', '.join(values)} }};" for values in names.values()]
    return [*enums, *lines, "} genfuse_settings;", ""]


@functools.cache
def _fields(op: str) -> tuple[Field, ...]:
    settings = contract(op).settings
    return tuple(_field(name, hint) for name, hint in get_type_hints(settings).items())


def _field(name: str, hint: Any) -> Field:
    choices: tuple[Any, ...] = ()
    parts = (hint,) if get_origin(hint) in (Literal, tuple) or isinstance(hint, type) else get_args(hint)
    absent: float | None = None
    for part in parts:
        if part is type(None):
            absent = -1
        elif get_origin(part) is Literal:
            choices = get_args(part)
    if choices:
        note = " /* -1: none */" if absent is not None else ""
        return Field(name, f"int64_t {name}{note}", choices, absent)
    if float in parts:
        note = " /* infinite: none */" if absent is not None else ""
        return Field(name, f"double {name}{note}", (), None if absent is None else float("inf"))
    if get_origin(parts[0]) is tuple:
        return Field(name, f"int64_t {name}[2]", (), None)
    return Field(name, f"int64_t {name}", (), None)


class Packed(NamedTuple):
    """`genfuse_args` of a call; `held` is what it points to, to be kept until the call returns."""

    memory: bytes
    held: list[Any]


def size(op: str) -> int:
    """Bytes of `genfuse_args`."""
    return struct.calcsize(_form(op))


@functools.cache
def _form(op: str) -> str:
    kinds = {
        "tensor": _TENSOR,
        "tensors": "Pq",
        "ints": "Pq",
        "rows": "qP",
        "float": "d",
        "pair": "2q",
        "quad": "4q",
    }
    form = ""
    for argument in contract(op).arguments:
        if argument.kind == "settings":
            form += "".join(
                "d" if field.declaration.startswith("double") else "2q" if "[2]" in field.declaration else "q"
                for field in _fields(op)
            )
        else:
            form += kinds.get(argument.kind, "q")
    return f"{form}q"


def packed(op: str, given: dict[str, Any], threads: int) -> Packed:
    """A call's arguments, by name, in C. UnsupportedError for a tensor that has too many axes or another dtype."""
    held: list[Any] = []
    values: list[Any] = []
    samples = next((len(t) for t in given.values() if isinstance(t, Tensor) and t.ndim), 0)
    for argument in contract(op).arguments:
        value = given[argument.name]
        if argument.kind == "tensor":
            values += _ABSENT if value is None else _tensor(argument.name, value)
        elif argument.kind == "settings":
            values += _settings(op, value)
        elif argument.kind in ("pair", "quad"):
            values += value
        elif argument.kind in ("tensors", "ints"):
            values += _array(argument.name, value, held)
        elif argument.kind == "rows":
            values += _rows(value, samples, held)
        else:
            values.append(float(value) if argument.kind == "float" else int(value))
    return Packed(struct.pack(_form(op), *values, threads), held)


def _tensor(name: str, t: Tensor) -> tuple[int, ...]:
    if t.ndim > AXES or t.dtype not in DTYPE_CODES:
        raise UnsupportedError(
            f"{name} has {t.ndim} axes of {t.dtype}, expected at most {AXES} of {', '.join(map(str, DTYPE_CODES))}"
        )
    room = (0,) * (AXES - t.ndim)
    address = (
        t.data_ptr() or t.element_size()
    )  # of what is empty, too, an address: none stands for an absent one
    return (address, DTYPE_CODES[t.dtype], t.ndim, *t.shape, *room, *t.stride(), *room)


def _array(name: str, value: Any, held: list[Any]) -> tuple[int, int]:
    """Pointer and count, of tensors or ints."""
    import ctypes

    if value and not isinstance(value[0], int):
        memory = b"".join(struct.pack(_TENSOR, *_tensor(f"{name}[{i}]", t)) for i, t in enumerate(value))
    else:
        memory = struct.pack(f"{len(value)}q", *value)
    room = ctypes.create_string_buffer(memory, max(len(memory), 1))
    held.append(room)
    return ctypes.addressof(room), len(value)


def _rows(value: int | Tensor, samples: int, held: list[Any]) -> tuple[int, int]:
    """A row for all, or the address of one a sample."""
    if not isinstance(value, Tensor):
        return int(value), 0
    rows = value.to(torch.int64).reshape(-1).expand(samples).contiguous()
    held.append(rows)
    return 0, rows.data_ptr()


def _settings(op: str, value: Any) -> Iterator[Any]:
    for field, given in zip(_fields(op), value, strict=True):
        if given is None:
            yield (
                field.absent
                if field.absent is None or field.declaration.startswith("double")
                else int(field.absent)
            )
        elif field.names:
            yield field.names.index(given)
        elif isinstance(given, tuple):
            yield from given
        else:
            yield float(given) if field.declaration.startswith("double") else int(given)
