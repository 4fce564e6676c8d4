"""Builds emulated CUDA with the host compiler, under a sanitizer."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import pytest

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


def build(
    source: Path, sanitizer: Sanitizer, output: Path, *, shared: bool = False, planted: Path | None = None
) -> Path:
    """Compile an emulated kernel's `source` with the scheduler: a program, or a library where `shared`.

    planted   a folder of headers that stand in for those of csrc
    """
    first = [] if planted is None else [f"-I{planted}"]
    scheduler = output.with_suffix(".scheduler.o")
    kernel = output.with_suffix(".o")
    _compile(
        *_HOST, f"-DEMULATION_{sanitizer.upper()}", "-c", f"{EMULATION}/scheduler.cpp", "-o", str(scheduler)
    )
    _compile(*_HOST, *first, *_KERNEL, *FLAGS[sanitizer], "-c", str(source), "-o", str(kernel))
    linked = ["-shared"] if shared else []
    _compile(*FLAGS[sanitizer], *linked, str(kernel), str(scheduler), "-o", str(output))
    return output


def runtime(name: str) -> str:
    """The path of one of the compiler's own libraries."""
    found = subprocess.run(
        [str(COMPILER), f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()
