"""Launching a CUDA kernel on PyTorch's stream, by one of two ways that run the same kernels.

built ahead of time    where `genfuse build-cuda` has made a folder of them: `cuda_built`; by the driver alone
compiled here          by NVRTC at the first call, kept on disk; through CuPy
"""

from __future__ import annotations

import functools
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from genfuse_kernels.common import cuda_built, nvrtc
from genfuse_kernels.common.cuda_cupy import CuPyFunction
from genfuse_kernels.common.cuda_driver import DriverFunction
from genfuse_kernels.common.cuda_kernel import Kernel, cached
from genfuse_kernels.common.cuda_walk import THREADS


class Function(Protocol):
    """A kernel that is loaded on a device."""

    def launch(
        self, blocks: int, threads: int, arguments: NDArray[np.void], shared: int, stream: int
    ) -> None:
        """Enqueue it on a CUDA stream's handle; `shared`: bytes of dynamic shared memory."""


def way() -> str:
    """Which of the two ways kernels take here. `cuda_built.RefusedError` where the folder is not what it should be."""
    built = cuda_built.found()
    if built is not None:
        return f"built ahead of time by {built.compiler}, in {built.folder}, launched by the driver"
    return f"compiled here by NVRTC {nvrtc.version()}, launched through CuPy"


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

    RuntimeError where the kernel was not built ahead of time, but others were; where it cannot be compiled or loaded;
    and where it would be loaded while a CUDA graph is captured: call it once before.
    """
    number = torch.cuda.current_device() if device.index is None else device.index
    stream = torch.cuda.current_stream(number).cuda_stream
    _loaded(kernel, number).launch(blocks, threads, arguments, shared, stream)


@functools.cache
def _loaded(kernel: Kernel, device: int) -> Function:
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            f"the CUDA kernel {kernel.function} would be loaded while a CUDA graph is captured, which nothing may "
            "wait for; run the same calls once before capturing"
        )
    capability = torch.cuda.get_device_capability(device)
    built = cuda_built.found()
    if built is not None:
        return DriverFunction(built.file(kernel, capability), kernel.function, device)
    return CuPyFunction(cached(kernel, nvrtc.target(capability)), kernel.function, device)
