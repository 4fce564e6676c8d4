"""CUDA kernels: compiled by NVRTC for a device when they are first called, kept on disk, launched through CuPy.

A failed compilation leaves the compiler's log in the same folder: ``$GENFUSE_CACHE/cuda`` where that is set, else
the platform's place (``~/.cache/genfuse/cuda`` on Linux).
"""

from __future__ import annotations

import functools
import hashlib
import os
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path

from genfuse_kernels.common import nvrtc
from genfuse_kernels.common.cuda_walk import THREADS, Order

STORED = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
"""The type that csrc/common/cuda/stored.h gives a dtype's elements."""

_SHARED_UNASKED = 48 * 1024  # bytes that a block has without asking

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

    @property
    def source(self) -> Path:
        """The file of its own."""
        return sources() / self.op / f"cuda{self.part and '_'}{self.part}.cu"


def sources() -> Path:
    """The folder of the kernels' sources: beside the installed package, or the checkout's."""
    installed = Path(__file__).parents[1] / "csrc"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "csrc"


def options(kernel: Kernel) -> list[str]:
    """Compiler options, the target apart.

    A product is fused with a sum only where the source says so: every order gives the same bits. The bound on
    registers, which no kernel comes near, keeps the assembler from spilling one to make room for another block.
    """
    return [
        "--std=c++17",
        "--device-as-default-execution-space",  # NVRTC 12.3 takes generic lambdas for the host's
        "--fmad=false",
        "--maxrregcount=128",
        f"--include-path={sources()}",
        f"-DGENFUSE_STORED={STORED[kernel.dtype]}",
        f"-DGENFUSE_ORDER={ORDERS[kernel.order]}",
        f"-DGENFUSE_INDEX={'long long' if kernel.wide else 'int'}",
        *(f"-DGENFUSE_{name}={value}" for name, value in kernel.macros),
    ]


def compiled(kernel: Kernel, target: str) -> bytes:
    """The kernel's binary for "sm_…" or PTX for "compute_…". `nvrtc.CompilationError` where that fails."""
    source = kernel.source
    return nvrtc.compile_source(source.read_text(encoding="utf-8"), source.name, options(kernel), target)


def cached(kernel: Kernel, target: str) -> Path:
    """The file of the kernel's binary, made where it is not there.

    RuntimeError, naming the file with the compiler's log, where the kernel does not compile; OSError where the
    folder cannot be written.
    """
    folder = Path(os.environ.get("GENFUSE_CACHE") or user_cache_path("genfuse")) / "cuda"
    path = folder / f"{kernel.function}-{target}-{_key(kernel, target)}.bin"
    if path.is_file():
        return path
    try:
        binary = compiled(kernel, target)
    except nvrtc.CompilationError as error:
        what = f"NVRTC {nvrtc.version()} cannot compile {kernel.function} for {target}"
        log = path.with_suffix(".log")
        try:
            _write(log, str(error).encode())
        except OSError as unwritable:
            raise RuntimeError(f"{what}, and {unwritable}; its log:\n{error}") from None
        raise RuntimeError(f"{what}; its log is in {log}") from None
    _write(path, binary)
    path.with_suffix(".log").unlink(missing_ok=True)
    return path


def _key(kernel: Kernel, target: str) -> str:
    """What the binary depends on: its source, all that it may include, options, target and compiler."""
    digest = hashlib.sha256()
    for path in [kernel.source, *sorted(sources().rglob("*.h"))]:
        digest.update(path.read_bytes())
    digest.update("\n".join([nvrtc.version(), target, *options(kernel)]).encode())
    return digest.hexdigest()[:16]


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all: other processes look for the same file."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise OSError(
            f"compiled kernels cannot be kept in {path.parent} ({error}); set GENFUSE_CACHE to another folder"
        ) from error


class _Stream(NamedTuple):
    """PyTorch's stream as others see one: the CUDA stream protocol."""

    pointer: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


@functools.cache
def _loaded(kernel: Kernel, device: int) -> Any:
    import cupy

    path = cached(kernel, nvrtc.target(torch.cuda.get_device_capability(device)))
    with cupy.cuda.Device(device):
        return cupy.RawModule(path=str(path)).get_function(kernel.function)


def launch(
    kernel: Kernel,
    blocks: int,
    arguments: NDArray[np.void],
    device: torch.device,
    threads: int = THREADS,
    shared: int = 0,
) -> None:
    """Enqueue the kernel on PyTorch's current stream of `device`, and wait for nothing.

    arguments   the kernel's struct, a structured array of one element, passed by value
    shared      bytes of dynamic shared memory

    Call a kernel once before a CUDA graph is captured: the first call compiles and loads it.
    """
    import cupy

    number = torch.cuda.current_device() if device.index is None else device.index
    function = _loaded(kernel, number)
    stream = cupy.cuda.Stream.from_external(_Stream(torch.cuda.current_stream(number).cuda_stream))
    with cupy.cuda.Device(number), stream:
        if shared > _SHARED_UNASKED:
            function.max_dynamic_shared_size_bytes = shared
        function((blocks,), (threads,), (arguments,), shared_mem=shared)
