"""Triton kernels compiled offline for a target, with no GPU and no driver, specialised as for real arguments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def standin_driver(target: str) -> Iterator[None]:
    """Make Triton compile for "sm_90" or "gfx942" in this process, with no GPU and no driver."""
    from triton.backends.compiler import GPUTarget
    from triton.backends.driver import DriverBase
    from triton.runtime import driver

    class StandIn(DriverBase):  # type: ignore[misc]
        """Knows a target and nothing else."""

        @classmethod
        def is_active(cls) -> bool:
            return True

        def get_current_target(self) -> Any:
            if target.startswith("gfx"):
                return GPUTarget("hip", target, 64)
            return GPUTarget("cuda", int(target.removeprefix("sm_")), 32)

        def get_active_torch_device(self) -> torch.device:
            return torch.device("cpu")

        def get_current_device(self) -> int:
            return int(target.lstrip("smgfx_"))  # Triton caches by device: one a target

        def get_current_stream(self, device: int) -> int:
            return 0

        def get_benchmarker(self) -> Any:
            raise RuntimeError("a stand-in driver times nothing")

        def map_python_to_cpp_type(self, ty: str) -> str:
            return ty

    before = driver._active
    driver.set_active(StandIn())
    try:
        yield
    finally:
        driver._active = before


@contextmanager
def compiling_only() -> Iterator[list[tuple[str, Any]]]:
    """Inside, kernels are compiled and not launched: (name, binary) of each launch, in order."""
    from triton.runtime.jit import JITFunction

    run = JITFunction.run
    found: list[tuple[str, Any]] = []

    def compile_only(self: Any, *arguments: Any, warmup: bool, **options: Any) -> Any:
        found.append((self.fn.__name__, run(self, *arguments, warmup=True, **options)))
        return found[-1][1]

    JITFunction.run = compile_only
    try:
        yield found
    finally:
        JITFunction.run = run
