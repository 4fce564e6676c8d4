"""`genfuse lab new`: a kernel file to start from, which computes its op as it comes."""

from __future__ import annotations

import os
from pathlib import Path

from genfuse import dispatch
from genfuse.errors import UnsupportedError
from genfuse.lab.contract import contract
from genfuse.names import check_name

KERNELS = Path(__file__).parent / "kernels"
"""Naive kernels, by op and language."""

SUFFIXES = {"cpp": ".cpp", "cuda": ".cu", "triton": ".py", "python": ".py"}

_PYTHON = '''"""`{op}` by PyTorch's own kernels, half precision in float32. To be replaced by something faster.

{text}
"""

from __future__ import annotations

from typing import Any

import torch

from genfuse_kernels.{op} import aten_impl


{signature}:
    """Fill what the contract above says is written."""
    given = {given}
    made = {{name: wide(value) for name, value in given.items()}}
    aten_impl.{op}(**made)
    for name in {written}:
        store(given[name], made[name])


def wide(value: Any) -> Any:
    if isinstance(value, list):
        return [wide(each) for each in value]
    is_half = isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if is_half else value


def store(to: Any, made: Any) -> None:
    for each, result in zip(to, made) if isinstance(to, list) else [(to, made)]:
        if result is not each:
            each.copy_(result)
'''


def text(op: str, backend: str) -> str:
    """The file's content. UnsupportedError, naming those that there are, where there is no start in this language."""
    check_name("backend", backend, SUFFIXES)
    of = contract(op)
    if backend == "python":
        signature = f"def {op}({', '.join(_typed(op))}) -> None"
        given = "{" + ", ".join(f'"{name}": {name}' for name in of.names) + "}"
        written = tuple(each.name for each in of.arguments if each.written)
        return _PYTHON.format(op=op, text=of.text, signature=signature, given=given, written=written)
    naive = KERNELS / f"{op}{'.triton' if backend == 'triton' else ''}{SUFFIXES[backend]}"
    if naive.is_file():
        return naive.read_text(encoding="utf-8")
    if backend == "triton":
        import genfuse_kernels

        ours = Path(genfuse_kernels.__file__).parent / op / "triton_impl.py"
        dtypes = ",".join(str(each).removeprefix("torch.") for each in dispatch.kernel_dtypes(op))
        start = f"# genfuse: op={op} dtypes={dtypes}\n# To start from: genfuse's own kernel.\n"
        return start + ours.read_text(encoding="utf-8")
    there = [
        name
        for name in SUFFIXES
        if name in ("triton", "python") or (KERNELS / f"{op}{SUFFIXES[name]}").is_file()
    ]
    raise UnsupportedError(f"{op} has no start in {backend}, expected one of {', '.join(there)}")


def _typed(op: str) -> list[str]:
    parts: list[str] = []
    for argument in contract(op).arguments:
        if argument.by_name and "*" not in parts:
            parts.append("*")
        default = " = None" if argument.by_name and argument.optional else ""
        parts.append(f"{argument.name}: Any{default}")
    return parts


def new(op: str, name: str | os.PathLike[str], backend: str = "cpp") -> Path:
    """Write the file; its suffix is the language's where the name has none. FileExistsError where it is there."""
    path = Path(name)
    if path.suffix != SUFFIXES[check_name("backend", backend, SUFFIXES)]:
        path = path.with_name(path.name + SUFFIXES[backend])
    content = text(op, backend)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise FileExistsError(f"{path} is there already, and stays as it is; name another file") from None
    return path
