"""The fixture for pytest-benchmark: held first, timed then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import torch

pytest_plugins = ["genfuse_bench.pytest_plugin"]

def test_right(held_benchmark):
    x = torch.linspace(0, 1, 100)
    held_benchmark(lambda: x.exp(), exact=lambda: x.double().exp(), tolerance=1e-6, cold=True)

def test_wrong(held_benchmark):
    x = torch.linspace(0, 1, 100)
    held_benchmark(lambda: x + 1e-3, exact=lambda: x.double(), tolerance=1e-6)
"""


def test_what_is_wrong_has_no_time(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pytest_benchmark")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # beside other workers it times nothing
    pytester.makepyfile(TESTS)
    output = tmp_path / "times.json"
    options = ("-p", "no:cacheprovider", "-p", "no:xdist", f"--benchmark-json={output}")
    result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines("*AssertionError: error 1.0e-03, tolerance 1.0e-06: no speed is reported*")
    (only,) = json.loads(output.read_text())["benchmarks"]
    assert only["extra_info"]["error"] <= 1e-6 and only["extra_info"]["cache"] == "cold"
    assert only["stats"]["rounds"] == 20
