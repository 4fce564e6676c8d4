"""The convolution's kernels under ThreadSanitizer, and what is left out of them on purpose is seen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cuda_proof.build import EMULATION, ROOT, Sanitizer, build, needs_compiler
from triton_proof.seeds import rotating

pytestmark = needs_compiler

PROGRAMS = ("conv_races", "gradient_races")


def run(program: Path, product: int, threads: int) -> subprocess.CompletedProcess[str]:
    command = [str(program), str(product), str(threads)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(("product", "name"), [(i // 2, PROGRAMS[i % 2]) for i in rotating(1, 6)])
def test_no_race_and_the_same_sums_in_every_order_of_threads(name, product, tmp_path):
    program = build(EMULATION / f"{name}.cpp", "tsan", tmp_path / "races")
    results = [run(program, product, threads) for threads in range(3)]
    for result in results:
        assert result.returncode == 0 and not result.stderr, result.stderr
    sums = {result.stdout for result in results}
    assert len(sums) == 1 and "nan" not in sums.pop()


LEFT_OUT: dict[str, tuple[str, Sanitizer, str, str]] = {
    "the barrier of a step": (
        "cuda_convolution.h",
        "tsan",
        "            __syncthreads();\n            start(step",
        "            start(step",
    ),
    "the barrier before the table of pixels is read": (
        "cuda_convolution.h",
        "tsan",
        "        __syncthreads();\n        const int taps",
        "        const int taps",
    ),
    "the barrier before the sums take the room": (
        "cuda_convolution.h",
        "tsan",
        "        __syncthreads();  // another source or segment, or the sums, take the room\n",
        "",
    ),
    "the barrier before the sums are read": (
        "cuda_convolution.h",
        "tsan",
        "product_.store(sums);\n        __syncthreads();",
        "product_.store(sums);",
    ),
    "waiting for the copies": (
        "cuda_convolution.h",
        "asan",
        "wait_for_copies<kStages - 2>();",
        "wait_for_copies<kStages - 1>();",
    ),
    "a stage of the ring": (
        "cuda_convolution.h",
        "tsan",
        "weights.copy(step, next);",
        "weights.copy(step + 1, next);",
    ),
    "the barrier of a tile": (
        "cuda_weight_gradient.cu",
        "tsan",
        "            __syncthreads();\n            if (tile + 1 < end) copy",
        "            if (tile + 1 < end) copy",
    ),
    "the barrier before the first tile is copied": (
        "cuda_weight_gradient.cu",
        "tsan",
        "        __syncthreads();\n        copy(begin, 0);",
        "        copy(begin, 0);",
    ),
    "waiting for a tile's copies": ("cuda_weight_gradient.cu", "asan", "wait_for_copies<0>();", ""),
    "the second of two tiles": (
        "cuda_weight_gradient.cu",
        "tsan",
        "copy(tile + 1, 1 - stage);",
        "copy(tile + 1, stage);",
    ),
    "the barrier before sums take the room": (
        "lanes.h",
        "tsan",
        "    __syncthreads();  // an earlier call's have been read\n",
        "",
    ),
}
"""By what shows it: the file, the sanitizer, its line, and what stands in its place."""


@pytest.mark.parametrize("fault", [list(LEFT_OUT)[seed] for seed in rotating(1, len(LEFT_OUT))])
def test_what_is_left_out_is_seen(fault, tmp_path):
    name, sanitizer, line, instead = LEFT_OUT[fault]
    folder = "common/cuda" if name == "lanes.h" else "conv_norm_act"
    text = (ROOT / "csrc" / folder / name).read_text()
    assert text.count(line) == 1
    planted = tmp_path / folder / name  # found before csrc's
    planted.parent.mkdir(parents=True)
    planted.write_text(text.replace(line, instead))
    source = EMULATION / f"{PROGRAMS[name != 'cuda_convolution.h']}.cpp"
    threads = 1 if fault == "a stage of the ring" else 2  # copies are made at once, or late
    result = run(build(source, sanitizer, tmp_path / "races", planted=tmp_path), 1, threads)
    if sanitizer == "tsan":
        assert result.returncode != 0 and "WARNING: ThreadSanitizer: data race" in result.stderr
    else:  # shared memory that nothing was copied to is NaN
        assert result.returncode == 0 and "nan" in result.stdout, result.stderr
