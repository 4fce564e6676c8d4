"""The kernels that walk over tiles under ThreadSanitizer, and with faults planted in what they have in common."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from cuda_proof.build import EMULATION, ROOT, Sanitizer, build, needs_compiler
from triton_proof.seeds import rotating

pytestmark = needs_compiler

ORDERS = ("rows", "channels_last", "planes")
SOURCE = EMULATION / "tiled_races.cpp"


def run(program: Path, order: int, threads: int) -> subprocess.CompletedProcess[str]:
    first = os.environ | {"TSAN_OPTIONS": "halt_on_error=1"}  # one report is enough
    command = [program, str(order), str(threads)]
    return subprocess.run(command, env=first, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    return build(SOURCE, "tsan", tmp_path_factory.mktemp("tiled") / "races")


@pytest.mark.parametrize("order", rotating(1, 3), ids=ORDERS.__getitem__)
def test_no_race_and_the_same_bits_in_every_order_of_threads(program, order):
    results = [run(program, order, threads) for threads in range(3)]
    for result in results:
        assert result.returncode == 0 and not result.stderr, result.stderr
    sums = {result.stdout for result in results}
    assert len(sums) == 1 and "nan" not in sums.pop()


BARRIERS = (ROOT / "csrc/common/cuda/lanes.h").read_text().count("__syncthreads();")

PLANTED: dict[str, tuple[Sanitizer | Literal["bits"], str, str, str]] = {
    "a_position_too_many": ("asan", "tile.h", "position < end;", "position <= end;"),
    "a_channel_too_many": (
        "asan",
        "tile.h",
        "channel < channels && position",
        "channel <= channels && position",
    ),
    "every_block_writes_the_first_part": ("bits", "stats.h", "spot.split * to.rows", "0 * to.rows"),
} | {f"barrier_{i}": ("tsan", "lanes.h", "__syncthreads();", "") for i in range(BARRIERS)}


def test_all_barriers_are_planted_without():
    assert BARRIERS == 3


@pytest.mark.parametrize("fault", [list(PLANTED)[i] for i in rotating(1, len(PLANTED))])
def test_planted_faults_are_caught(fault, program, tmp_path):
    sanitizer, header, right, wrong = PLANTED[fault]
    text = (ROOT / "csrc/common/cuda" / header).read_text()
    parts = text.split(right)
    at = int(fault[-1]) if fault.startswith("barrier") else 0
    assert len(parts) == (BARRIERS + 1 if fault.startswith("barrier") else 2)
    planted = tmp_path / "common/cuda" / header
    planted.parent.mkdir(parents=True)
    planted.write_text(right.join(parts[: at + 1]) + wrong + right.join(parts[at + 1 :]))
    faulty = build(SOURCE, "tsan" if sanitizer == "bits" else sanitizer, tmp_path / fault, planted=tmp_path)
    if sanitizer == "bits":  # the right memory, but the wrong place in it
        assert all(run(faulty, order, 0).stdout != run(program, order, 0).stdout for order in range(3))
    else:
        assert any("Sanitizer" in run(faulty, order, 0).stderr for order in range(3))
