"""Faults planted in kernels are caught by the emulation and its sanitizers, whatever the order of threads."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cuda_proof.build import EMULATION, Sanitizer, build, needs_compiler
from triton_proof.seeds import rotating

pytestmark = needs_compiler

Run = Callable[[Sanitizer, str, int], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """One kernel of faults.cpp under a sanitizer."""
    folder: Path = tmp_path_factory.mktemp("faults")
    built: dict[Sanitizer, Path] = {}

    def of(sanitizer: Sanitizer, fault: str, order: int) -> subprocess.CompletedProcess[str]:
        if sanitizer not in built:
            built[sanitizer] = build(EMULATION / "faults.cpp", sanitizer, folder / sanitizer)
        command = [str(built[sanitizer]), fault, str(order)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return of


ORDERS = pytest.mark.parametrize("order", rotating(1, 3), ids=["forward", "reverse", "shuffled"].__getitem__)


@ORDERS
@pytest.mark.parametrize("sanitizer", ["asan", "tsan"])
def test_a_correct_kernel_passes(run, sanitizer, order):
    result = run(sanitizer, "correct", order)
    assert result.returncode == 0, result.stderr
    first = [
        sum(i % 7 for i in range(start, start + 32)) for start in (32, 0, 96, 64)
    ]  # a warp reads the other's
    lanes = [32 * 3 * of_warp for of_warp in first]
    assert float(result.stdout) == sum(lanes) + 2 * (16 * 2 + 16)


CAUGHT = {
    "reads_past_global": "heap-buffer-overflow",
    "writes_before_global": "heap-buffer-overflow",
    "writes_past_shared": "heap-buffer-overflow",
    "reads_past_local": "index 4 out of bounds|stack-buffer-overflow",
    "misaligned": "misaligned address",
    "shifts_too_far": "shift exponent",
    "different_barriers": "threads of a block meet at different barriers",
    "leaves_before_the_barrier": "not all threads reach a barrier",
    "caller_not_in_mask": "mask lacks the calling lane",
    "masks_disagree": "lanes disagree on a warp primitive's mask",
    "lane_has_left": "waits for a lane that has left",
}


@ORDERS
@pytest.mark.parametrize("fault", CAUGHT)
def test_what_is_wrong_ends_the_process(run, fault, order):
    result = run("asan", fault, order)
    assert result.returncode != 0 and re.search(CAUGHT[fault], result.stderr), result.stdout + result.stderr


@ORDERS
def test_shared_memory_that_nobody_wrote_shows_as_nan(run, order):
    assert run("asan", "reads_unwritten_shared", order).stdout.strip() in ("nan", "-nan")


@ORDERS
@pytest.mark.parametrize("fault", ["no_barrier", "no_barrier_before_reuse", "blocks_write_the_same"])
def test_missing_order_is_a_data_race(run, fault, order):
    result = run("tsan", fault, order)
    assert result.returncode != 0 and "WARNING: ThreadSanitizer: data race" in result.stderr, result.stderr
