"""What libgenfuse.so is: its exports, what it needs, how it bears lost allocations and inputs of any kind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from embed import library

ROOT = Path(__file__).parents[2]
needs_library = pytest.mark.skipif(
    library.LIBRARY is None or shutil.which("cc") is None, reason="needs libgenfuse.so and a C compiler"
)


@pytest.mark.skipif("cpu" not in os.environ.get("GENFUSE_REQUIRE_BACKENDS", ""), reason="not required here")
def test_the_library_is_there() -> None:
    assert library.LIBRARY is not None, f"{library.path()} is not installed; pip install builds it"


def output(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compiled(source: str, to: Path, *options: str | Path) -> Path:
    program = to / Path(source).stem
    header = ["-I", ROOT / "csrc/include"]
    output("cc", "-std=gnu11", "-Wall", "-O1", *header, ROOT / source, "-o", program, *options)
    return program


@needs_library
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
def test_exports_are_the_headers_functions_with_a_version() -> None:
    header = (ROOT / "csrc/include/genfuse.h").read_text()
    declared = set(re.findall(r"GENFUSE_API[^;(]*?\b(genfuse_\w+)\(", header))
    lines = output("nm", "--dynamic", "--defined-only", library.path()).splitlines()
    exported = {line.split()[-1] for line in lines}
    assert {name for name in exported if "@@" in name} == {f"{name}@@GENFUSE_0.1" for name in declared}
    assert {name for name in exported if "@@" not in name} == {"GENFUSE_0.1"}


@needs_library
@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_it_needs_the_c_library_alone() -> None:
    dynamic = output("readelf", "-d", library.path())
    needed = set(re.findall(r"NEEDED.*\[(.*?)\]", dynamic))
    if any("asan" in name for name in needed):
        pytest.skip("a build under the sanitizers needs theirs")
    # the last two are part of the C library: before glibc 2.34 threads lay in a file of their own
    assert needed <= {
        "libc.so.6",
        "libm.so.6",
        "libpthread.so.0",
        "ld-linux-x86-64.so.2",
        "ld-linux-aarch64.so.1",
    }
    assert "NODELETE" in dynamic


@needs_library
def test_each_allocation_may_fail(tmp_path: Path) -> None:
    program = compiled("tests/csrc/embed_faults.c", tmp_path, "-ldl", "-pthread")
    assert int(output(program, library.path()).split()[0]) > 400


@needs_library
def test_inputs_of_any_kind(tmp_path: Path) -> None:
    """The fuzzer's corpus, and changes of it; as many as GENFUSE_FUZZ_RUNS says for each file."""
    folder = library.path().parent
    linked = ["-DREPLAY", "-L", folder, "-lgenfuse", f"-Wl,-rpath,{folder}", "-lm"]
    program = compiled("tests/csrc/fuzz/sampler.c", tmp_path, *linked)
    corpus = sorted((ROOT / "tests/csrc/fuzz/corpus").iterdir())
    assert output(program, os.environ.get("GENFUSE_FUZZ_RUNS", "1000"), *corpus).split() == [
        str(len(corpus)),
        "files",
    ]
