"""What libgenfuse.so is: its exports, what it needs, how it bears lost allocations and inputs of any kind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

import genfuse
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


def compiled(source: str | Path, to: Path, *options: str | Path) -> Path:
    program = to / Path(source).stem
    compiler = ["c++", "-std=c++17"] if Path(source).suffix == ".cpp" else ["cc", "-std=gnu11"]
    headers = ["-I", ROOT / "csrc/include", "-I", ROOT / "csrc"]
    output(*compiler, "-Wall", "-O1", *headers, ROOT / source, "-o", program, *options)
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
    """Also of what a thread takes when it first works: the library is loaded late, by dlopen."""
    unit = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 3, 3))
    network = genfuse.export(unit.eval(), {"input": torch.zeros(2, 3, 16, 16)}, tmp_path / "network.gfz")
    program = compiled("tests/csrc/embed_faults.c", tmp_path, "-ldl", "-pthread")
    assert int(output(program, library.path(), network).split()[0]) > 1000


@needs_library
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
def test_nothing_of_a_thread_is_taken_when_it_is_first_touched() -> None:
    """What asks for it ends the process where there is no memory; destructors of threads take some too."""
    undefined = output("nm", "--dynamic", "--undefined-only", library.path())
    assert "__tls_get_addr" not in undefined and "__cxa_thread_atexit" not in undefined


FUZZ = ROOT / "tests/csrc/fuzz"


@needs_library
@pytest.mark.parametrize("name", ["sampler", "network"])
def test_inputs_of_any_kind(name: str, tmp_path: Path) -> None:
    """What the fuzzers found worth keeping, and changes of it; as many as GENFUSE_FUZZ_RUNS says for each file."""
    archive = library.path().with_name("libgenfuse.a")
    sanitized = "asan" in os.environ.get("LD_PRELOAD", "")  # as tests/csrc/sanitize.sh runs it
    linked = ["-DREPLAY", archive, "-lm", "-lstdc++", "-pthread"]
    linked += ["-fsanitize=address,undefined"] if sanitized else []
    (source,) = (FUZZ / name).glob("fuzz.c*")
    program = compiled(source, tmp_path, *linked)
    inputs = [file for part in ("seeds", "corpus") for file in sorted((FUZZ / name / part).glob("*"))]
    changes = os.environ.get("GENFUSE_FUZZ_RUNS", "1000" if name == "sampler" else "20")
    said = output(program, changes, *inputs, GENFUSE_FUZZ_TENSORS=str(FUZZ / "network" / "tensors"))
    assert said.split() == [str(len(inputs)), "files"]
