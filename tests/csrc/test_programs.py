"""The test programs for other machines (arm.sh) keep up with the kernels' interface."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which(os.environ.get("CXX", "c++"))


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("program", sorted(Path(__file__).parent.glob("*.cpp")), ids=lambda path: path.name)
def test_it_compiles(program: Path) -> None:
    flags = ["-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'csrc'}"]
    subprocess.run([str(COMPILER), *flags, str(program)], check=True)
