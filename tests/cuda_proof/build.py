"""Builds emulated CUDA with the host compiler, under a sanitizer."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from genfuse_kernels.common.cuda_kernel import Kernel, options

ROOT = Path(__file__).parents[2]
EMULATION = Path(__file__).parent / "emulation"
COMPILER = shutil.which(os.environ.get("CXX", "g++"))

Sanitizer = Literal["asan", "tsan"]
FLAGS: dict[Sanitizer, list[str]] = {
    "asan": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    "tsan": ["-fsanitize=thread"],
}
_HOST = ["-std=c++17", "-O1", "-g", "-fPIC", "-fno-omit-frame-pointer", "-Wall", "-Wextra", "-Werror"]
# Sums of products are fused where the kernel says so, as NVRTC is told; its pragmas are not g++'s, and its
# 128-bit stores have no type.
_KERNEL = [
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-Wno-unknown-pragmas",
    f"-I{ROOT / 'csrc'}",
    f"-I{EMULATION}",
]

needs_compiler = pytest.mark.skipif(
    COMPILER is None or platform.system() != "Linux", reason="needs a C++ compiler on Linux"
)


def _compile(*arguments: str) -> None:
    own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # no sanitizer in g++
    subprocess.run([str(COMPILER), *arguments], check=True, env=own)


def build(source: Path, sanitizer: Sanitizer, output: Path, *, planted: Path | None = None) -> Path:
    """Compile `source`, which launches emulated kernels, to a program.

    planted   a folder of headers that stand in for those of csrc
    """
    first = [] if planted is None else [f"-I{planted}"]
    scheduler = build_scheduler(sanitizer, output.with_suffix(".scheduler.o"))
    program = [*_HOST, *first, *_KERNEL, *FLAGS[sanitizer]]
    _compile(*program, str(source), str(scheduler), "-o", str(output))
    return output


def build_scheduler(sanitizer: Sanitizer | None, output: Path) -> Path:
    """What runs the threads of emulated kernels, itself without the sanitizer."""
    source = str(EMULATION / "scheduler.cpp")
    told = [] if sanitizer is None else [f"-DEMULATION_{sanitizer.upper()}"]
    _compile(*_HOST, *told, "-c", source, "-o", str(output))
    return output


def build_recorder(output: Path) -> Path:
    """What counts the accesses of a kernel that `build_kernel` makes with it."""
    _compile(*_HOST, "-O2", "-c", str(EMULATION / "recorder.cpp"), "-o", str(output))
    return output


def build_kernel(kernel: Kernel, scheduler: Path, output: Path, *, recorder: Path | None = None) -> Path:
    """A library of one instantiation of a kernel under AddressSanitizer, by the macros that NVRTC is given.

    recorder  counts its accesses instead
    """
    source = kernel.source
    (bounds,) = re.findall(r"__launch_bounds__\(([^,)]+)", source.read_text())
    macros = [option for option in options(kernel) if option.startswith("-D")]
    own = {"SOURCE": f'"{source}"', "FUNCTION": kernel.function, "BLOCK": bounds}
    macros += [f"-DGENFUSE_{name}={value}" for name, value in own.items()]
    of_kernel = [*_HOST, *_KERNEL, *macros]
    source = f"{EMULATION}/kernel.cpp"
    if recorder is None:
        _compile(*of_kernel, *FLAGS["asan"], "-shared", source, str(scheduler), "-o", str(output))
        return output
    instrumented = output.with_suffix(".o")
    _compile(*of_kernel, *FLAGS["tsan"], "-c", source, "-o", str(instrumented))
    _compile("-shared", str(instrumented), str(scheduler), str(recorder), "-o", str(output))
    return output


def runtime(name: str) -> str:
    """The path of one of the compiler's own libraries."""
    found = subprocess.run(
        [str(COMPILER), f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()
