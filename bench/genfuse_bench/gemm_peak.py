"""The machine's matrix product at its best, which speeds are stated as a share of."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from genfuse.ops import linear

SIZES = (1024, 2048)
SECONDS = 0.5
"""For each size and each side."""


def gemm_peak(dtype: torch.dtype) -> float:
    """GFLOP/s of the fastest call of all: `torch.mm` or our own linear layer, square matrices of `SIZES`."""
    with torch.no_grad():
        return max(_peak(size, dtype) for size in SIZES)


def _peak(size: int, dtype: torch.dtype) -> float:
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    calls: tuple[Callable[[], Tensor], ...] = (lambda: torch.mm(a, b), lambda: linear(a, b))
    return max(2e-9 * size**3 / _fastest(call) for call in calls)


def _fastest(call: Callable[[], Tensor]) -> float:
    """Seconds of the fastest of its calls; the first is not among them."""
    call()
    times: list[float] = []
    end = time.monotonic() + SECONDS
    while not times or time.monotonic() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
