"""CUDA kernels on the host: compiled by the user's C++ compiler through `emulation/cuda.h`, under a sanitizer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Literal

from genfuse.errors import KernelError
from genfuse.lab import compiler

EMULATION = Path(__file__).parent / "emulation"
"""cuda.h, the scheduler of a block's threads, and kernel.cpp, which makes a library of one kernel."""

Sanitizer = Literal["asan", "tsan"]
SANITIZERS: dict[Sanitizer, list[str]] = {
    "asan": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    "tsan": ["-fsanitize=thread"],
}
HOST = ["-std=c++17", "-O1", "-g", "-fPIC", "-fno-omit-frame-pointer", "-Wall", "-Wextra", "-Werror"]
# Sums of products are fused where the kernel says so, as NVRTC is told; its pragmas are not g++'s, and its
# 128-bit stores have no type.
KERNEL = ["-ffp-contract=off", "-fno-strict-aliasing", "-Wno-unknown-pragmas", f"-I{EMULATION}"]

THREAD_ORDERS = ("forward", "reverse", "shuffled")
"""`emulation::ThreadOrder`."""


def compile_(*arguments: str) -> None:
    """By the user's compiler. KernelError with its own words."""
    own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # no sanitizer in it
    done = subprocess.run(
        [compiler.compiler(), *arguments], capture_output=True, text=True, env=own, check=False
    )
    if done.returncode:
        raise KernelError(f"the kernel does not compile on the host:\n{done.stderr.strip()}")


def build_scheduler(sanitizer: Sanitizer | None, output: Path) -> Path:
    """What runs the threads of emulated kernels, itself without the sanitizer."""
    told = [] if sanitizer is None else [f"-DEMULATION_{sanitizer.upper()}"]
    compile_(*HOST, *told, "-c", str(EMULATION / "scheduler.cpp"), "-o", str(output))
    return output
