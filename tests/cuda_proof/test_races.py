"""The ops' kernels under ThreadSanitizer: barriers alone order what threads of a block share."""

from __future__ import annotations

import subprocess

import pytest

from cuda_proof.build import EMULATION, build, needs_compiler
from triton_proof.seeds import rotating

pytestmark = needs_compiler


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> str:
    return str(build(EMULATION / "races.cpp", "tsan", tmp_path_factory.mktemp("races") / "races"))


@pytest.mark.parametrize("order", rotating(1, 3), ids=["flat", "channels_last", "planes"].__getitem__)
def test_no_race_and_the_same_sums_in_every_order_of_threads(program, order):
    results = [
        subprocess.run([program, str(order), str(threads)], capture_output=True, text=True, timeout=120)
        for threads in range(3)
    ]
    for result in results:
        assert result.returncode == 0 and not result.stderr, result.stderr
    sums = {result.stdout for result in results}
    assert len(sums) == 1 and "nan" not in sums.pop()
