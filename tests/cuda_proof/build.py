"""Builds emulated CUDA with the host compiler, under a sanitizer."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

import pytest

from genfuse.lab.compiler import runtime
from genfuse.lab.emulated import EMULATION as ENGINE
from genfuse.lab.emulated import HOST, KERNEL, SANITIZERS, Sanitizer, build_scheduler, compile_
from genfuse_kernels.common.cuda_kernel import Kernel, options

__all__ = [
    "COMPILER",
    "EMULATION",
    "ROOT",
    "Sanitizer",
    "build",
    "build_scheduler",
    "needs_compiler",
    "runtime",
]

ROOT = Path(__file__).parents[2]
EMULATION = Path(__file__).parent / "emulation"
"""Programs that launch emulated kernels."""
COMPILER = shutil.which(os.environ.get("CXX", "g++"))

FLAGS = SANITIZERS
_HOST, _compile = HOST, compile_
_KERNEL = [*KERNEL, f"-I{ROOT / 'csrc'}", f"-I{EMULATION}"]

needs_compiler = pytest.mark.skipif(
    COMPILER is None or platform.system() != "Linux", reason="needs a C++ compiler on Linux"
)


def build(source: Path, sanitizer: Sanitizer, output: Path, *, planted: Path | None = None) -> Path:
    """Compile `source`, which launches emulated kernels, to a program.

    planted   a folder of headers that stand in for those of csrc
    """
    first = [] if planted is None else [f"-I{planted}"]
    scheduler = build_scheduler(sanitizer, output.with_suffix(".scheduler.o"))
    program = [*_HOST, *first, *_KERNEL, *FLAGS[sanitizer]]
    _compile(*program, str(source), str(scheduler), "-o", str(output))
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
    source = f"{ENGINE}/kernel.cpp"
    if recorder is None:
        _compile(*of_kernel, *FLAGS["asan"], "-shared", source, str(scheduler), "-o", str(output))
        return output
    instrumented = output.with_suffix(".o")
    _compile(*of_kernel, *FLAGS["tsan"], "-c", source, "-o", str(instrumented))
    _compile("-shared", str(instrumented), str(scheduler), str(recorder), "-o", str(output))
    return output
