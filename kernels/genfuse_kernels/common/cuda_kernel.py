"""CUDA kernels: what one is, how it is compiled by NVRTC, and where its binary is kept.

A failed compilation leaves the compiler's log in the same folder: ``$GENFUSE_CACHE/cuda`` where that is set, else
the platform's place (``~/.cache/genfuse/cuda`` on Linux).
"""

from __future__ import annotations

import functools
import hashlib
import uuid
from pathlib import Path
from typing import NamedTuple

import torch

from genfuse_kernels.common import nvrtc
from genfuse_kernels.common.cache_directory import cache_directory, private_folder
from genfuse_kernels.common.cuda_walk import Order

STORED = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
"""The type that csrc/common/cuda/stored.h gives a dtype's elements."""

ORDERS: dict[Order, str] = {
    "flat": "kFlat",
    "channels_last": "kChannelsLast",
    "planes": "kPlanes",
    "rows": "kRows",
}


class Kernel(NamedTuple):
    """One instantiation of an op's kernel.

    wide    whether offsets within a sample need 64 bits
    part    of an op that has several kernels, the name of one; "": the op's own
    macros  what else the source is compiled for: (name, value), without the prefix GENFUSE_
    """

    op: str
    dtype: torch.dtype
    order: Order
    wide: bool
    part: str = ""
    macros: tuple[tuple[str, int | str], ...] = ()

    @property
    def function(self) -> str:
        """Its name in the binary."""
        return self.part or self.op

    def __str__(self) -> str:
        of = [self.op, self.part, STORED[self.dtype], self.order, "64-bit" if self.wide else ""]
        return " ".join(filter(None, [*of, *(f"{name}={value}" for name, value in self.macros)]))

    @property
    def source(self) -> Path:
        """The file of its own."""
        return sources() / self.op / f"cuda{self.part and '_'}{self.part}.cu"


def sources() -> Path:
    """The folder of the kernels' sources: beside the installed package, or the checkout's."""
    installed = Path(__file__).parents[1] / "csrc"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "csrc"


def options(kernel: Kernel) -> list[str]:
    """Compiler options, the target and the folder of headers apart.

    A product is fused with a sum only where the source says so: every order gives the same bits. The bound on
    registers, which no kernel comes near, keeps the assembler from spilling one to make room for another block.
    """
    return [
        "--std=c++17",
        "--device-as-default-execution-space",  # NVRTC 12.3 takes generic lambdas for the host's
        "--fmad=false",
        "--maxrregcount=128",
        f"-DGENFUSE_STORED={STORED[kernel.dtype]}",
        f"-DGENFUSE_ORDER={ORDERS[kernel.order]}",
        f"-DGENFUSE_INDEX={'long long' if kernel.wide else 'int'}",
        *(f"-DGENFUSE_{name}={value}" for name, value in kernel.macros),
    ]


def compiled(kernel: Kernel, target: str) -> bytes:
    """The kernel's binary for "sm_…" or PTX for "compute_…". `nvrtc.CompilationError` where that fails."""
    source = kernel.source
    of = [f"--include-path={sources()}", *options(kernel)]
    return nvrtc.compile_source(source.read_text(encoding="utf-8"), source.name, of, target)


def cached(kernel: Kernel, target: str) -> Path:
    """The file of the kernel's binary, made where it is not there or its hash, kept beside it, is another.

    Errors as `compile_to`, and those of `private_folder`: a binary runs.
    """
    folder = cache_directory() / "cuda"
    try:
        private_folder(folder)
    except OSError as error:
        raise type(error)(_not_kept(folder, error)) from error
    path = folder / f"{kernel.function}-{target}-{key(kernel, target)}.bin"
    seal = path.with_suffix(".sha256")
    if not (path.is_file() and seal.is_file() and seal.read_bytes() == _seal(path)):
        compile_to(path, kernel, target)
        write(seal, _seal(path))
    return path


def _seal(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).hexdigest().encode()


def compile_to(path: Path, kernel: Kernel, target: str) -> None:
    """Make the file of the kernel's binary.

    RuntimeError, naming the file with the compiler's log, where the kernel does not compile; OSError where the
    folder cannot be written.
    """
    log = path.with_suffix(".log")
    try:
        binary = compiled(kernel, target)
    except nvrtc.CompilationError as error:
        what = f"NVRTC {nvrtc.version()} cannot compile {kernel.function} for {target}"
        try:
            write(log, str(error).encode())
        except OSError as unwritable:
            raise RuntimeError(f"{what}, and {unwritable}; its log:\n{error}") from None
        raise RuntimeError(f"{what}; its log is in {log}") from None
    write(path, binary)
    log.unlink(missing_ok=True)


def key(kernel: Kernel, target: str) -> str:
    """What the binary depends on: `fingerprint`, target and compiler."""
    whole = "\n".join([fingerprint(kernel), target, nvrtc.version()])
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def fingerprint(kernel: Kernel) -> str:
    """Of the kernel's source, all that it includes, and the options: the same wherever these lie."""
    digest = hashlib.sha256()
    for path in _included(kernel.source):
        digest.update(_content(path))
    digest.update("\n".join(options(kernel)).encode())
    return digest.hexdigest()


@functools.cache
def _included(source: Path) -> tuple[Path, ...]:
    """The source, and every file of ours that it includes, directly or not, in the order of its first mention."""
    found: dict[Path, None] = {source: None}
    for line in _content(source).decode().splitlines():
        if line.startswith('#include "'):
            found |= dict.fromkeys(_included(sources() / line.split('"')[1]))
    return tuple(found)


@functools.cache
def _content(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    """Whole or not at all: other processes look for the same file."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise OSError(_not_kept(path.parent, error)) from error


def _not_kept(folder: Path, error: OSError) -> str:
    return f"compiled kernels cannot be kept in {folder} ({error}); set GENFUSE_CACHE to another folder"
