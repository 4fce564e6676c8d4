"""A CUDA kernel that CuPy loads and launches; the interface is that of `cuda_driver.DriverFunction`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genfuse_kernels.common.cuda_driver import UNASKED


class _Stream(NamedTuple):
    """PyTorch's stream as others see one: the CUDA stream protocol."""

    pointer: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


class CuPyFunction:
    """One kernel of a binary, loaded on a device."""

    def __init__(self, path: Path, name: str, device: int) -> None:
        """Load a cubin or PTX."""
        import cupy

        self._cupy, self._device = cupy, device
        with cupy.cuda.Device(device):
            self._function = cupy.RawModule(path=str(path)).get_function(name)

    def launch(
        self, blocks: int, threads: int, arguments: NDArray[np.void], shared: int, stream: int
    ) -> None:
        """Enqueue it on a CUDA stream's handle.

        arguments   an array of one element, which is passed by value
        shared      bytes of dynamic shared memory
        """
        external = self._cupy.cuda.Stream.from_external(_Stream(stream))
        with self._cupy.cuda.Device(self._device), external:
            if shared > UNASKED:
                self._function.max_dynamic_shared_size_bytes = shared
            self._function((blocks,), (threads,), (arguments,), shared_mem=shared)
