"""No code of one instruction set can be linked in place of another's: each object defines its own namespace only."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

OBJECTS = sorted(
    path
    for build in (Path(__file__).parents[2] / "build").glob("*")
    for path in build.glob("CMakeFiles/genfuse_*.dir/**/*.o")
    if path.parts[-3] in {"genfuse_baseline.dir", "genfuse_avx2.dir", "genfuse_avx512.dir"}
)


@pytest.mark.skipif(not OBJECTS or shutil.which("nm") is None, reason="needs the build folder and nm")
def test_kernel_objects_define_only_their_namespace() -> None:
    for path in OBJECTS:
        isa = path.parts[-3].removeprefix("genfuse_").removesuffix(".dir")
        command = ["nm", "--demangle", "--defined-only", "--extern-only", str(path)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        symbols = [line.split(maxsplit=2)[1:] for line in lines]
        names = [name for kind, name in symbols if kind in "TtWwiu"]  # code; the sanitizers add data
        strangers = [name for name in names if not name.startswith(f"genfuse::{isa}::")]
        assert names and not strangers, f"{path} also defines {strangers}"
