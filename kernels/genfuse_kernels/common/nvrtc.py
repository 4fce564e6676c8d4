"""NVIDIA's run-time compiler, NVRTC, by its C interface: needs neither a toolkit, nor a driver, nor a GPU.

CuPy's own way to it adds -ftz=true, which would turn subnormal numbers into zeros.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch


class CompilationError(Exception):
    """The source does not compile; the message is the compiler's log."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library of NVIDIA's Python packages, the version that PyTorch was built with first, else the system's."""
    for name in _candidates():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _candidates() -> Iterator[str]:
    major = (torch.version.cuda or "").split(".")[0]
    package = importlib.util.find_spec("nvidia")
    folders = () if package is None else package.submodule_search_locations or ()
    found = [path for folder in folders for path in Path(folder).glob("*/lib/libnvrtc.so.*[0-9]")]
    yield from map(
        str, sorted(found, key=lambda path: (path.suffix == f".{major}", path.suffix), reverse=True)
    )
    yield from ("libnvrtc.so.13", "libnvrtc.so.12")


@functools.cache
def numbers() -> tuple[int, int]:
    """Major and minor version."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


def version() -> str:
    """Major and minor version, as "13.0"."""
    return ".".join(map(str, numbers()))


@functools.cache
def architectures() -> tuple[int, ...]:
    """Compute capabilities that it compiles for, as 90 for 9.0, in rising order."""
    count = ctypes.c_int()
    _call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
    found = (ctypes.c_int * count.value)()
    _call("nvrtcGetSupportedArchs", found)
    return tuple(sorted(found))


def target(capability: tuple[int, int]) -> str:
    """What to compile for a device: machine code, or PTX for the newest that NVRTC knows where it is older.

    ValueError where it knows none that the device can run.
    """
    wanted = capability[0] * 10 + capability[1]
    if wanted in architectures():
        return f"sm_{wanted}" + ("a" if wanted >= 90 else "")
    older = [known for known in architectures() if known < wanted]
    if not older:
        raise ValueError(
            f"NVRTC {version()} compiles for compute capability {architectures()[0] / 10} and higher, "
            f"the device has {wanted / 10}"
        )
    return f"compute_{older[-1]}"


def named(target: str) -> tuple[int, int]:
    """The compute capability of "sm_90a" or "compute_90". ValueError where it is no target."""
    numbers = re.fullmatch(r"(?:sm|compute)_(\d+)(\d)a?", target)
    if numbers is None:
        raise ValueError(f"{target!r} is no target")
    return int(numbers[1]), int(numbers[2])


def compile_source(source: str, name: str, options: Sequence[str], target: str) -> bytes:
    """Machine code for "sm_…", PTX for "compute_…". CompilationError, with the log, where that fails."""
    program = ctypes.c_void_p()
    _call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
    try:
        arguments = [option.encode() for option in (f"--gpu-architecture={target}", *options)]
        failed = _library().nvrtcCompileProgram(
            program, len(arguments), (ctypes.c_char_p * len(arguments))(*arguments)
        )
        if failed:
            log = _result(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
            raise CompilationError(log or f"NVRTC failed with status {failed} and no log")
        return _result(program, "CUBIN" if target.startswith("sm_") else "PTX")
    finally:
        _call("nvrtcDestroyProgram", ctypes.byref(program))


def _result(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _call(f"nvrtcGet{what}", program, buffer)
    return buffer.raw


def _library() -> ctypes.CDLL:
    found = library()
    if found is None:
        raise RuntimeError("NVRTC is not found; pip install 'genfuse[cuda12]' or 'genfuse[cuda13]'")
    return found


def _call(function: str, *arguments: object) -> None:
    status = getattr(_library(), function)(*arguments)
    if status:
        raise RuntimeError(f"{function} failed with status {status}")
