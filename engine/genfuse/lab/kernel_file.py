"""A user's kernel file: what it says of itself, and whether it has changed.

The op is the header that a C++ or CUDA file includes, or the function that a Python file defines. A comment line
`genfuse: name=value ...` says what else is to be known:

    op=norm_act            where the file does not tell it otherwise
    dtypes=float32,float16 of x that the kernel takes; all of the op's if left out
    flags=-ffast-math,-O2  more options for the compiler (C++)
    threads=128            a block's (CUDA), and of how many elements of the output a block is: elements=1024;
    blocks=samples         or a block a sample, `channels`: a channel of one, or a number of blocks
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import time
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from genfuse.errors import KernelError
from genfuse.lab.contract import OPS, contract
from genfuse.names import unknown_name

Language = Literal["cpp", "cuda", "triton", "python"]

_SUFFIXES: dict[str, Language] = {
    ".cpp": "cpp", ".cc": "cpp", ".cxx": "cpp", ".cu": "cuda", ".py": "python",
}  # fmt: skip
_DEVICES: dict[Language, tuple[str, ...]] = {
    "cpp": ("cpu",),
    "cuda": ("cuda",),
    "triton": ("cuda",),
    "python": (),
}
_SAID = ("op", "dtypes", "flags", "threads", "elements", "blocks")
_OURS = ("activation", "kernel", "unit")
_SETTLED = 1.0
"""Seconds after which a file's times tell it apart from an earlier state: before, a second write may have the same."""


class Source(NamedTuple):
    """What a kernel file holds.

    included   the user's own headers that it includes, directly or not, with their content
    line       of the function, or of the header's inclusion: where an error about the whole is pointed to
    """

    path: Path
    op: str
    language: Language
    content: bytes
    included: tuple[tuple[Path, bytes], ...]
    said: dict[str, str]
    line: int

    @property
    def hash(self) -> str:
        """Of its content and that of its headers."""
        digest = hashlib.sha256(self.content)
        for _, content in self.included:
            digest.update(b"\0" + content)
        return digest.hexdigest()[:16]

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """Of x that it takes."""
        if "dtypes" not in self.said:
            return contract(self.op).dtypes
        return tuple(getattr(torch, name) for name in self.said["dtypes"].split(","))

    @property
    def devices(self) -> tuple[str, ...]:
        """Where it runs; (): anywhere."""
        return _DEVICES[self.language]

    def where(self) -> str:
        """file:line, as compilers write it."""
        return f"{self.path}:{self.line}"


def read(path: str | os.PathLike[str], op: str | None = None) -> Source:
    """What the file is now. FileNotFoundError; KernelError, with the line, where it does not say which op it is."""
    file = Path(path).expanduser().absolute()
    if file.suffix not in _SUFFIXES:
        raise KernelError(f"{file}: the name ends in {file.suffix!r}, expected one of {', '.join(_SUFFIXES)}")
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no kernel file {file}") from None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise KernelError(f"{file}:{line}: the file is not UTF-8 text ({error.reason})") from None
    said = _said(file, text)
    language = _SUFFIXES[file.suffix]
    if language == "python":
        found, line, uses_triton = _of_python(file, text, op or said.get("op"))
        language = "triton" if uses_triton else "python"
        return Source(file, found, language, content, (), said, line)
    found, line = _of_header(file, text, op or said.get("op"))
    return Source(file, found, language, content, tuple(_included(file, text, {file})), said, line)


def _said(file: Path, text: str) -> dict[str, str]:
    said: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r"\s*(?://|#)\s*genfuse:\s*(.*)", line)
        for word in found[1].split() if found else ():
            name, _, value = word.partition("=")
            if name not in _SAID or not value:
                raise KernelError(f"{file}:{number}: {unknown_name('a setting', name, _SAID)}, as name=value")
            said[name] = value
            if name == "dtypes":
                _check_dtypes(file, number, value)
            elif name in ("threads", "elements") and not value.isdecimal():
                raise KernelError(f"{file}:{number}: {name} is {value!r}, expected a whole number")
            elif name == "blocks" and not value.isdecimal() and value not in ("samples", "channels"):
                raise KernelError(
                    f"{file}:{number}: blocks is {value!r}, expected samples, channels or a number"
                )
    return said


def _check_dtypes(file: Path, number: int, value: str) -> None:
    known = ("float32", "float64", "bfloat16", "float16")
    for name in value.split(","):
        if name not in known:
            raise KernelError(f"{file}:{number}: {unknown_name('dtypes', name, known)}")


def _of_header(file: Path, text: str, asked: str | None) -> tuple[str, int]:
    included = {
        found[1]: number
        for number, line in enumerate(text.splitlines(), 1)
        if (found := re.match(r'\s*#\s*include\s*["<]genfuse/(\w+)\.h[">]', line)) and found[1] not in _OURS
    }
    for op, number in included.items():
        if op not in OPS:
            raise KernelError(
                f"{file}:{number}: there is no genfuse/{op}.h; {unknown_name('the op', op, OPS)}"
            )
    op = asked or next(iter(included), None)
    if op not in included:
        wanted = f"genfuse/{op}.h" if op else "the header of an op, as genfuse/norm_stats.h"
        raise KernelError(
            f"{file}:1: it does not include {wanted}; `genfuse lab new OP NAME` makes such a file"
        )
    return op, included[op]


def _of_python(file: Path, text: str, asked: str | None) -> tuple[str, int, bool]:
    try:
        tree = ast.parse(text, str(file))
    except SyntaxError as error:
        raise KernelError(f"{file}:{error.lineno}: {error.msg}: {(error.text or '').strip()}") from None
    functions = {node.name: node.lineno for node in tree.body if isinstance(node, ast.FunctionDef)}
    bindings = {
        alias.asname or alias.name: node.lineno
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    ops = [name for name in functions if name in OPS] or [name for name in bindings if name in OPS]
    if asked is None and len(ops) != 1:
        what = (
            f"functions of several ops ({', '.join(ops)}); name one by op="
            if ops
            else "no function of an op's name"
        )
        raise KernelError(f"{file}:1: it has {what}; a kernel of norm_stats is `def norm_stats(out, x)`")
    op = asked or ops[0]
    if op not in OPS:
        raise KernelError(f"{file}:1: {unknown_name('op', op, OPS)}")
    if op not in functions and op not in bindings:
        raise KernelError(f"{file}:1: it does not define {op}; expected {contract(op).signature}")
    imports = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    uses_triton = any(name.split(".")[0] == "triton" for name in imports)
    return op, functions.get(op) or bindings[op], uses_triton


def _included(file: Path, text: str, seen: set[Path]) -> list[tuple[Path, bytes]]:
    found: list[tuple[Path, bytes]] = []
    for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.MULTILINE):
        path = (file.parent / name).resolve()
        if path not in seen and path.is_file():
            seen.add(path)
            content = path.read_bytes()
            found += [(path, content), *_included(path, content.decode(errors="replace"), seen)]
    return found


class Watch:
    """Whether a file, or a header of it, may have changed, by a few microseconds of `stat`.

    Times alone do not tell: a write within the clock's step of an earlier one has its times. So the content is looked
    at again until the times are old enough, and after that whenever they, the size or the file itself are others.
    """

    def __init__(self, source: Source) -> None:
        self._paths = (source.path, *(path for path, _ in source.included))
        self._states = [_state(path) for path in self._paths]
        self._settled = False

    def is_of(self, source: Source) -> bool:
        """Whether it watches this state of the files."""
        return self._states == [
            _state(path) for path in (source.path, *(path for path, _ in source.included))
        ]

    def may_have_changed(self) -> bool:
        """True as well where a file has gone."""
        states = [_state(path) for path in self._paths]
        if states != self._states:
            return True
        if self._settled:
            return False
        newest = max(state[1] for state in states)
        self._settled = time.time() - newest / 1e9 > _SETTLED
        return True  # once more, now that they are told apart


def _state(path: Path) -> tuple[int, int, int, int]:
    try:
        of = path.stat()
    except OSError:
        return (0, 0, 0, 0)
    return of.st_mtime_ns, of.st_ctime_ns, of.st_size, of.st_ino
