"""NVIDIA's driver by its C interface, libcuda.so.1: what every machine with such a GPU has, without a toolkit.

    python -I cuda_driver.py     prints what it finds as JSON

so that whoever asks can give up on a driver that does not answer. Nothing but Python's own modules is needed.
"""

from __future__ import annotations

import ctypes
import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

LIBRARY = "libcuda.so.1"

LEAST_CAPABILITY = (8, 0)
"""Compute capability that Triton needs, and the CUDA kernels: they round to bfloat16 in one instruction."""

UNASKED = 48 * 1024
"""Bytes of shared memory that a block has without asking."""

_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_SHARED_MEMORY = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


class DriverError(RuntimeError):
    """A function of the driver failed; the message has its name and the driver's own words."""


class Found(NamedTuple):
    """What a driver says of itself: its CUDA version, and the name and compute capability of each GPU."""

    version: tuple[int, int]
    devices: tuple[tuple[str, tuple[int, int]], ...]


@functools.cache
def library() -> ctypes.CDLL:
    """OSError where there is no driver."""
    return ctypes.CDLL(LIBRARY)


def found() -> Found:
    """Ask the driver. OSError where there is none, `DriverError` where it fails."""
    number, count = ctypes.c_int(), ctypes.c_int()
    call("cuDriverGetVersion", ctypes.byref(number))
    call("cuInit", 0)
    call("cuDeviceGetCount", ctypes.byref(count))
    version = number.value // 1000, number.value % 1000 // 10
    return Found(version, tuple(_device(i) for i in range(count.value)))


def _device(number: int) -> tuple[str, tuple[int, int]]:
    device, name = _handle(number), ctypes.create_string_buffer(256)
    call("cuDeviceGetName", name, len(name), device)
    major, minor = ctypes.c_int(), ctypes.c_int()
    for value, attribute in zip((major, minor), _CAPABILITY, strict=True):
        call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
    return name.value.decode(errors="replace"), (major.value, minor.value)


def _handle(number: int) -> ctypes.c_int:
    device = ctypes.c_int()
    call("cuDeviceGet", ctypes.byref(device), number)
    return device


@functools.cache
def context(number: int) -> ctypes.c_void_p:
    """The device's primary context, which PyTorch uses too; it is kept for the process."""
    call("cuInit", 0)
    primary = ctypes.c_void_p()
    call("cuDevicePrimaryCtxRetain", ctypes.byref(primary), _handle(number))
    return primary


class DriverFunction:
    """One kernel of a binary, loaded on a device and launched by the driver."""

    def __init__(self, path: Path, name: str, device: int) -> None:
        """Load a cubin or PTX. `DriverError` where the device cannot run it, or it has no kernel of that name."""
        self._context, self._room = context(device), UNASKED
        module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        with self._current():
            call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(path.read_bytes()))
            call("cuModuleGetFunction", ctypes.byref(self._function), module, name.encode())

    @contextmanager
    def _current(self) -> Iterator[None]:
        """The device's context is the thread's."""
        call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def launch(self, blocks: int, threads: int, arguments: Any, shared: int, stream: int) -> None:
        """Enqueue it on a CUDA stream's handle.

        arguments   a numpy array of one element, which is passed by value
        shared      bytes of dynamic shared memory
        """
        pointers = (ctypes.c_void_p * 1)(arguments.ctypes.data)
        with self._current():
            if shared > self._room:
                call("cuFuncSetAttribute", self._function, _SHARED_MEMORY, shared)
                self._room = shared
            sizes = (blocks, 1, 1, threads, 1, 1, shared)
            call("cuLaunchKernel", self._function, *sizes, ctypes.c_void_p(stream), pointers, None)


def call(function: str, *arguments: object) -> None:
    """`DriverError` where the driver's function returns an error."""
    status = getattr(library(), function)(*arguments)
    if status:
        raise DriverError(f"{function} failed with status {status}: {_words(status)}")


def _words(status: int) -> str:
    text = ctypes.c_char_p()
    library().cuGetErrorString(status, ctypes.byref(text))
    return (text.value or b"an error that the driver does not know").decode(errors="replace")


def main() -> None:
    """Print `found`, or the error."""
    try:
        answer: dict[str, Any] = found()._asdict()
    except (OSError, AttributeError, DriverError) as error:
        answer = {"error": str(error), "is_absent": isinstance(error, OSError)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
