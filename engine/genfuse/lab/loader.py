"""From a kernel file to a launcher."""

from __future__ import annotations

import ctypes
import linecache
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from genfuse.dispatch import Launcher
from genfuse.errors import KernelError, UnsupportedError
from genfuse.lab import compiler, header
from genfuse.lab.contract import contract
from genfuse.lab.kernel_file import Source


def load(source: Source, *, sanitized: bool = False) -> Launcher:
    """The file's launcher, which raises `UnsupportedError`, with nothing written, for a call that it declines.

    KernelError where it does not compile, does not fit the contract, or raises while it is imported.
    """
    if source.language == "cpp":
        return of_library(source, compiler.library(source, sanitized=sanitized))
    if source.language == "cuda":
        from genfuse.lab import cuda  # with all that it needs, which others do not

        return cuda.launcher(source)
    return _of_python(source)


def of_library(source: Source, path: Path) -> Launcher:
    """Of a compiled C++ kernel."""
    op = source.op
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelError(f"{source.path}: what it compiles to cannot be loaded: {error}") from None
    try:
        kernel, args_bytes = library.genfuse_kernel, library.genfuse_args_bytes
    except AttributeError:
        raise KernelError(
            f"{source.where()}: it includes genfuse/{op}.h, but defines no kernel; "
            "expected GENFUSE_KERNEL(args) { ... }"
        ) from None
    args_bytes.restype = ctypes.c_int64
    if args_bytes() != header.size(op):
        raise KernelError(
            f"{source.where()}: its genfuse_args has {args_bytes()} bytes, expected {header.size(op)}; "
            f"include genfuse/{op}.h before anything that changes how structs are laid out"
        )
    kernel.restype = ctypes.c_char_p
    kernel.argtypes = [ctypes.c_char_p]
    of = contract(op)

    def launch(*arguments: Any, **options: Any) -> None:
        made = header.packed(op, of.bound(arguments, options), torch.get_num_threads())
        told = kernel(made.memory)
        if told is not None:
            raise UnsupportedError(f"{source.path.name}: {told.decode(errors='replace')}")

    return launch


def _of_python(source: Source) -> Launcher:
    name = f"genfuse_lab_{source.hash}"
    module = types.ModuleType(name)
    module.__file__ = str(source.path)
    linecache.checkcache(str(source.path))  # tracebacks, and Triton, read lines there
    sys.modules[name] = module
    try:
        exec(compile(source.content, str(source.path), "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        line = line_of(error, source.path) or 1
        raise KernelError(f"{source.path}:{line}: {type(error).__name__}: {error}") from error
    function: Callable[..., Any] | None = getattr(module, source.op, None)
    if not callable(function):
        raise KernelError(
            f"{source.where()}: {source.op} is no function; expected {contract(source.op).signature}"
        )
    misfit = contract(source.op).misfit(function)
    if misfit is not None:
        raise KernelError(
            f"{source.where()}: {source.op}: {misfit}; expected {contract(source.op).signature}"
        )
    return function


def line_of(error: BaseException, path: Path) -> int | None:
    """The user's own line that was running, the innermost."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
