"""`stand_in/driver.cpp` as libcuda.so.1: a machine with an NVIDIA driver and GPUs, as the test says."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cuda_proof.build import COMPILER

SOURCE = Path(__file__).parent / "stand_in" / "driver.cpp"


def build_driver(folder: Path) -> Path:
    """Compile it into `folder`."""
    library = folder / "libcuda.so.1"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([str(COMPILER), *flags, str(SOURCE), "-o", str(library)], check=True)
    return library
