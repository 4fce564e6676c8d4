"""What Triton compiles for: a few kernels take other numbers of warps on other makers' GPUs."""

from __future__ import annotations

import triton


def is_amd() -> bool:
    """Whether the current device is an AMD GPU; never under the interpreter, which has no device.

    There a warp is 64 threads and a program's registers are shared out over twice as many of them.
    """
    if triton.knobs.runtime.interpret:
        return False
    backend: str = triton.runtime.driver.active.get_current_target().backend
    return backend == "hip"
