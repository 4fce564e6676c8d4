"""The convolution's kernel under ThreadSanitizer, and what is left out of it on purpose is seen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cuda_proof.build import EMULATION, ROOT, Sanitizer, build, needs_compiler
from triton_proof.seeds import rotating

pytestmark = needs_compiler

SOURCE = EMULATION / "conv_races.cpp"


def run(program: Path, product: int, threads: int) -> subprocess.CompletedProcess[str]:
    command = [str(program), str(product), str(threads)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    return build(SOURCE, "tsan", tmp_path_factory.mktemp("races") / "races")


@pytest.mark.parametrize("product", rotating(1, 3), ids=["half", "three products", "fused"].__getitem__)
def test_no_race_and_the_same_sums_in_every_order_of_threads(program, product):
    results = [run(program, product, threads) for threads in range(3)]
    for result in results:
        assert result.returncode == 0 and not result.stderr, result.stderr
    sums = {result.stdout for result in results}
    assert len(sums) == 1 and "nan" not in sums.pop()


LEFT_OUT: dict[str, tuple[Sanitizer, str, str]] = {
    "the barrier of a step": (
        "tsan",
        "            __syncthreads();\n            start();",
        "            start();",
    ),
    "the barrier before the table of pixels is read": (
        "tsan",
        "        __syncthreads();\n        const int taps",
        "        const int taps",
    ),
    "the barrier before the sums take the room": (
        "tsan",
        "        __syncthreads();  // another source, or the sums, take the room\n",
        "",
    ),
    "the barrier before the sums are read": (
        "tsan",
        "product_.store(sums);\n        __syncthreads();",
        "product_.store(sums);",
    ),
    "waiting for the copies": ("asan", "wait_for_copies<kStages - 2>();", "wait_for_copies<kStages - 1>();"),
    "a stage of the ring": ("tsan", "i < kStages - 1; ++i) start();", "i < kStages; ++i) start();"),
}
"""By what shows it: the sanitizer, the kernel's line, and what stands in its place."""


@pytest.mark.parametrize("fault", [list(LEFT_OUT)[seed] for seed in rotating(1, len(LEFT_OUT))])
def test_what_is_left_out_is_seen(fault, tmp_path):
    sanitizer, line, instead = LEFT_OUT[fault]
    header = "conv_norm_act/cuda_convolution.h"
    kernel = (ROOT / "csrc" / header).read_text()
    assert kernel.count(line) == 1
    (tmp_path / header).parent.mkdir()
    (tmp_path / header).write_text(kernel.replace(line, instead))
    threads = 1 if fault == "a stage of the ring" else 2  # copies are made at once, or late
    result = run(build(SOURCE, sanitizer, tmp_path / "races", planted=tmp_path), 1, threads)
    if sanitizer == "tsan":
        assert result.returncode != 0 and "WARNING: ThreadSanitizer: data race" in result.stderr
    else:  # shared memory that nothing was copied to is NaN
        assert result.returncode == 0 and "nan" in result.stdout, result.stderr
