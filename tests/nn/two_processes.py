"""Work done by two processes of a gloo group, and what they found beside what one process finds."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

SECONDS = 300
"""That a process may take: where one fails, the other waits for it."""

needs_gloo = pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="no gloo")


def run(work: Callable[[int], Any], folder: Path) -> list[Any]:
    """What `work`, a function of a module, returns for each rank."""
    assert exits(work, folder) == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def exits(work: Callable[[int], Any], folder: Path) -> list[int | None]:
    """How the process of each rank that does `work` ends."""
    spawning = multiprocessing.get_context("spawn")
    started = [spawning.Process(target=_process, args=(work, rank, str(folder))) for rank in (0, 1)]
    for each in started:
        each.start()
    for each in started:
        each.join(SECONDS)
        if each.is_alive():
            each.kill()
    return [each.exitcode for each in started]


def _process(work: Callable[[int], Any], rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", meeting, timedelta(seconds=SECONDS), world_size=2, rank=rank)
    torch.save(work(rank), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def check_share(want: dict[str, Tensor], first: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Both processes' gradients, and what their norms remember, beside float64's of the joined batch."""
    assert first.keys() == other.keys() == want.keys()
    largest = max(float(exact.abs().max()) for exact in want.values())
    for name, exact in want.items():
        if name == "x":
            got = torch.cat((first[name], other[name]))
        elif "running" in name or "tracked" in name:
            assert torch.equal(first[name], other[name])
            got = first[name]
        else:
            got = first[name] + other[name]  # as data-parallel training sums them
        error = float((got - exact).abs().max())  # a bias before a norm has none but rounding
        assert error <= 1e-4 * float(exact.abs().max()) + 1e-5 * largest, f"{name}: {error:.1e}"
