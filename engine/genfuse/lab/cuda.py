"""A CUDA kernel of the user's: compiled by NVRTC and launched on PyTorch's stream, or emulated on the host.

A file defines one kernel by GENFUSE_KERNEL(args). Its comment line says how it is launched: blocks of `threads`, one
for each `elements` of the output (the first tensor that the op writes), for each sample, for each channel of one, or a
number of them. The source finds the first two as GENFUSE_THREADS and GENFUSE_ELEMENTS.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genfuse.dispatch import Launcher
from genfuse.errors import KernelError
from genfuse.lab import compiler, emulated, header
from genfuse.lab.contract import contract
from genfuse.lab.kernel_file import Source
from genfuse_kernels.common import nvrtc
from genfuse_kernels.common.cuda_kernel import write

EMULATED = "GENFUSE_LAB_EMULATED"
"""Set where kernels are to run on the host, in the order of threads that it names."""

_OPTIONS = ("--std=c++17", "--device-as-default-execution-space")


def threads(source: Source) -> int:
    """Of a block."""
    return int(source.said.get("threads", 256))


def elements(source: Source) -> int:
    """Of the output that a block is for."""
    return int(source.said.get("elements", threads(source)))


def blocks(source: Source, given: dict[str, Any]) -> int:
    """Of a launch."""
    written = next(each.name for each in contract(source.op).arguments if each.written)
    out = given[written]
    said = source.said.get("blocks")
    if said is None:
        return -(-int(out.numel()) // elements(source))
    if said.isdecimal():
        return int(said)
    return int(out.shape[0]) * (int(out.shape[1]) if said == "channels" else 1)


def launcher(source: Source) -> Launcher:
    """On a GPU, compiled at the first call on it; where GENFUSE_LAB_EMULATED is set, on the host."""
    lists = contract(source.op).lists
    if lists:
        raise KernelError(
            f"{source.where()}: {source.op} takes lists of tensors ({', '.join(lists)}), whose table lies in host "
            "memory; write it in C++, Triton or Python"
        )
    order = os.environ.get(EMULATED)
    run = _on_device(source) if order is None else _on_host(source, emulated.THREAD_ORDERS.index(order))

    def launch(*arguments: Any, **options: Any) -> None:
        given = contract(source.op).bound(arguments, options)
        count = blocks(source, given)
        if count:
            run(count, header.packed(source.op, given, 1))

    return launch


def compiled(source: Source, target: str) -> bytes:
    """Machine code for "sm_...", PTX for "compute_...". KernelError with the compiler's words, by file and line."""
    text = f'#line 1 "{source.path}"\n{source.content.decode()}'
    folders = (source.path.parent, compiler.headers(source.op), header.INCLUDE)
    options = [*_OPTIONS, *(f"--include-path={folder}" for folder in folders), *_macros(source)]
    try:
        return nvrtc.compile_source(text, source.path.name, options, target)
    except nvrtc.CompilationError as error:
        raise KernelError(f"{source.path} does not compile for {target}:\n{error}") from None


def _macros(source: Source) -> list[str]:
    return [f"-DGENFUSE_THREADS={threads(source)}", f"-DGENFUSE_ELEMENTS={elements(source)}"]


def _on_device(source: Source) -> Callable[[int, header.Packed], None]:
    from genfuse_kernels.common.cuda_cupy import CuPyFunction

    @functools.cache
    def loaded(number: int) -> CuPyFunction:
        target = nvrtc.target(torch.cuda.get_device_capability(number))
        binary = compiled(source, target)
        path = compiler.folder() / f"{source.op}-{target}-{hashlib.sha256(binary).hexdigest()[:24]}.bin"
        write(path, binary)
        return CuPyFunction(path, "genfuse_kernel", number)

    def run(count: int, made: header.Packed) -> None:
        number = torch.cuda.current_device()
        arguments = np.frombuffer(made.memory, np.dtype(f"V{len(made.memory)}")).reshape(())
        stream = torch.cuda.current_stream(number).cuda_stream
        loaded(number).launch(count, threads(source), arguments, 0, stream)

    return run


def _on_host(source: Source, order: int) -> Callable[[int, header.Packed], None]:
    with tempfile.TemporaryDirectory() as folder:
        library = ctypes.CDLL(str(_emulation(source, Path(folder))))
    if library.argument_bytes() != header.size(source.op):
        raise KernelError(
            f"{source.where()}: its kernel does not take genfuse_args; expected GENFUSE_KERNEL(args)"
        )

    def run(count: int, made: header.Packed) -> None:
        library.emulate(ctypes.c_uint(count), order, ctypes.c_char_p(made.memory), ctypes.c_size_t(0))

    return run


def _emulation(source: Source, folder: Path) -> Path:
    scheduler = emulated.build_scheduler("asan", folder / "scheduler.o")
    file, output = folder / source.path.name, folder / "kernel.so"
    file.write_bytes(f'#line 1 "{source.path}"\n'.encode() + source.content)
    own = {"SOURCE": f'"{file}"', "FUNCTION": "genfuse_kernel", "BLOCK": threads(source), "EMULATED": 1}
    macros = [*_macros(source), *(f"-DGENFUSE_{name}={value}" for name, value in own.items())]
    host = [flag for flag in emulated.HOST if flag not in ("-Wall", "-Wextra", "-Werror")]
    emulated.compile_(
        *host,
        *emulated.KERNEL,
        *macros,
        *compiler.include_options(source),
        *emulated.SANITIZERS["asan"],
        "-shared",
        str(emulated.EMULATION / "kernel.cpp"),
        str(scheduler),
        "-o",
        str(output),
    )
    return output
