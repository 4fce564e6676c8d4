"""The user's C++ compiler, and what it has made: a cache that is private to the user, by content.

A library is named by all that it depends on: the file's content and that of its headers, ours, options, compiler. Its
own hash lies beside it, and what does not agree with that is made anew.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from genfuse.errors import KernelError
from genfuse.lab import header
from genfuse.lab.kernel_file import Source
from genfuse_kernels.common.cache_directory import cache_directory
from genfuse_kernels.common.cuda_kernel import write

OPTIONS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread")
SANITIZED = ("-std=c++17", "-O1", "-g", "-fno-omit-frame-pointer", "-fPIC", "-shared", "-pthread")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")


@functools.cache
def compiler() -> str:
    """The path of CXX, else of g++, clang++ or c++. KernelError where there is none."""
    for name in filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++")):
        found = shutil.which(name)
        if found is not None:
            return found
    raise KernelError("there is no C++ compiler here: install g++ or clang++, or name one in CXX")


@functools.cache
def version() -> str:
    """The first line that it says of itself."""
    told = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=False).stdout
    return told.splitlines()[0] if told else compiler()


@functools.cache
def runtime(name: str) -> str:
    """The path of one of the compiler's own libraries."""
    asked = [compiler(), f"-print-file-name={name}"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def folder() -> Path:
    """Where libraries lie; made, for the user alone. KernelError where others could write there."""
    path = cache_directory() / "lab"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    of = path.stat()
    if hasattr(os, "getuid") and (of.st_uid != os.getuid() or of.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        raise KernelError(
            f"{path} is not yours alone to write, and what lies there is run; set GENFUSE_CACHE"
        )
    return path


def library(source: Source, *, sanitized: bool = False) -> Path:
    """The compiled file, made where it is not there. KernelError with the compiler's own words, by file and line."""
    native = ["-march=native"] if platform.machine() in ("x86_64", "AMD64") else []
    options = [*SANITIZED, *SANITIZERS] if sanitized else [*OPTIONS, *native]
    options += source.said.get("flags", "").split(",") if "flags" in source.said else []
    of = hashlib.sha256(source.content)
    for part in (
        *(content for _, content in source.included),
        *_headers(source.op),
        *map(str.encode, options),
    ):
        of.update(b"\0" + part)
    of.update(f"\0{version()}\0{source.path}".encode())
    path = folder() / f"{source.op}-{of.hexdigest()[:24]}.so"
    if not _is_whole(path):
        _compile(source, options, path)
    return path


def headers(op: str) -> Path:
    """The folder that has genfuse/<op>.h."""
    text = header.text(op).encode()
    path = folder() / "include" / hashlib.sha256(text).hexdigest()[:16]
    file = path / "genfuse" / f"{op}.h"
    if not file.is_file() or file.read_bytes() != text:
        write(file, text)
    return path


def _headers(op: str) -> list[bytes]:
    ours = sorted((header.INCLUDE / "genfuse").glob("*.h"))
    return [header.text(op).encode(), *(path.read_bytes() for path in ours)]


def include_options(source: Source) -> list[str]:
    """Where the user's and our headers are looked for."""
    return ["-iquote", str(source.path.parent), f"-I{headers(source.op)}", f"-I{header.INCLUDE}"]


def _is_whole(path: Path) -> bool:
    try:
        return path.with_suffix(".sha256").read_text() == hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return False


def _compile(source: Source, options: Sequence[str], path: Path) -> None:
    made = path.with_name(f".{path.stem}-{os.getpid()}.so")
    command = [compiler(), *options, *include_options(source), "-x", "c++", "-", "-o", str(made)]
    run(command, source, f"{source.path} does not compile")
    content = made.read_bytes()
    made.unlink()
    write(path, content)
    write(path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest().encode())


def run(command: Sequence[str], source: Source, failed: str) -> None:
    """A compiler on the file's content as it was read, its messages by the file's own name and lines."""
    own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # no sanitizer in it
    text = f'#line 1 "{source.path}"\n'.encode() + source.content
    done = subprocess.run(command, input=text, capture_output=True, env=own, check=False)
    if done.returncode:
        raise KernelError(f"{failed}:\n{done.stderr.decode(errors='replace').strip()}")
