"""What a test file depends on: what it imports, what its imports import, and the files that it runs by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from genfuse_bench.dependencies import EVERYTHING, dependencies

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "test, on, not_on",
    [
        (
            "tests/ops/test_sampler_step_triton.py",
            ("kernels/genfuse_kernels/sampler_step", "tests/triton_proof/interpreted/test_sampler_step.py"),
            ("engine", "kernels/genfuse_kernels/attention", "csrc/attention"),
        ),
        (
            "tests/ops/test_norm_stats_cuda.py",
            ("csrc", "tests/cuda_proof/emulated/test_norm_stats.py", "engine/genfuse/lab"),
            ("engine", "tests/ops/test_norm_stats.py"),
        ),
        (
            "tests/ops/test_network_triton.py",
            ("engine", "kernels", "csrc", "tests/triton_proof/interpreted/test_upfirdn2d.py"),
            ("tests/cuda_proof/build.py",),
        ),
    ],
)
def test_paths(test: str, on: tuple[str, ...], not_on: tuple[str, ...]) -> None:
    found = dependencies(ROOT, test)
    always = (test, "tests/conftest.py", "pyproject.toml", "constraints.txt")
    assert set(found) >= {*always, *on} and not set(found) & set(not_on)
    assert all((ROOT / path).exists() for path in found if not path.startswith(":"))


def test_a_test_that_starts_processes_or_reads_files_depends_on_everything() -> None:
    assert dependencies(ROOT, "tests/cli/test_cli.py") == EVERYTHING
    assert dependencies(ROOT, "tests/test_layering.py") == EVERYTHING
