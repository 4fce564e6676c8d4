"""For pytest-benchmark: a fixture that asks of a number what `genfuse bench` asks of one.

    def test_step(held_benchmark):
        held_benchmark(ours, exact=reference, tolerance=1e-6)

A test's result is held against `exact` before anything is timed: no speed without correctness. What pytest-benchmark
writes down then has the error, commit and versions in `extra_info`. A conftest.py asks for the fixture by
`pytest_plugins = ["genfuse_bench.pytest_plugin"]`; pytest-benchmark comes with the extra `bench-pytest`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.cold_cache import flush_of
from genfuse_bench.largest_error import largest_error
from genfuse_bench.load import Load
from genfuse_bench.machine import Machine, synchronize


class HeldBenchmark:
    """pytest-benchmark's `benchmark`, for calls that give a tensor or several."""

    def __init__(self, benchmark: Any) -> None:
        self.benchmark = benchmark

    def __call__(
        self,
        call: Callable[[], Tensor | Sequence[Tensor]],
        *,
        exact: Callable[[], Tensor | Sequence[Tensor]],
        tolerance: float,
        device: str | torch.device = "cpu",
        cold: bool = False,
    ) -> float:
        """Time `call`, whose error is what is returned.

        exact      gives the same in float64
        tolerance  largest error, relative to the largest value that is wanted
        cold       caches are emptied before each round, which is a single call then

        AssertionError where it is wrong by more: nothing is timed.
        """
        place = torch.device(device)
        error = largest_error(_several(call()), _several(exact()))
        assert error <= tolerance, f"error {error:.1e}, tolerance {tolerance:.1e}: no speed is reported"
        keep_freed_memory()

        def timed() -> None:
            call()
            synchronize(place)

        before = Load.now()
        if cold:
            flush = flush_of(place)
            self.benchmark.pedantic(timed, setup=lambda: _flushed(flush, place), rounds=20)
        else:
            self.benchmark(timed)
        machine = Machine.here()
        self.benchmark.extra_info.update(
            error=error,
            tolerance=tolerance,
            threads=torch.get_num_threads(),
            cache="cold" if cold else "warm",
            contended=Load.now().disturbed_since(before),
            commit=machine.commit,
            versions=machine.versions,
        )
        return error


def _several(found: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else list(found)


def _flushed(flush: Callable[[], object], device: torch.device) -> None:
    flush()
    synchronize(device)


@pytest.fixture
def held_benchmark(request: pytest.FixtureRequest) -> HeldBenchmark:
    """`HeldBenchmark` around the test's `benchmark`; skips where pytest-benchmark is not installed."""
    if not request.config.pluginmanager.hasplugin("benchmark"):
        pytest.skip("pytest-benchmark is not installed; pip install 'genfuse[bench-pytest]'")
    return HeldBenchmark(request.getfixturevalue("benchmark"))
