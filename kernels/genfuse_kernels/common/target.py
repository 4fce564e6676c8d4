"""What a Triton launcher asks of the GPU that it compiles for."""

from __future__ import annotations

import functools
from typing import Any

import triton


def target() -> Any:
    """Triton's GPUTarget: backend ("cuda", "hip"), arch and warp_size; None under the interpreter."""
    if triton.knobs.runtime.interpret:
        return None
    return _target_of(triton.runtime.driver.active.get_current_device())


@functools.cache
def _target_of(device: int) -> Any:
    """Asked once a device: a launch is a few microseconds."""
    return triton.runtime.driver.active.get_current_target()


def warps_of(threads: int) -> int:
    """Warps of a program: 32 lanes each on NVIDIA's GPUs, 64 on AMD's for data centres.

    Blocks are sized for threads, so that a lane holds as much of one, in registers and an access, on every target.
    """
    of = target()
    return max(1, threads // (32 if of is None else of.warp_size))
