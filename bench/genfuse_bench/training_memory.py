"""How much memory a training step takes, each competitor in a process of its own."""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import torch

from genfuse import env
from genfuse_bench.memory import resident_growth
from genfuse_bench.training import LOW, OURS, step_of, target_of
from genfuse_bench.training_networks import network


def peaks_mb(section: str, peers: Sequence[str], dtype: torch.dtype) -> dict[str, float]:
    """Of a second step, in 10⁶ bytes by competitor: activations, gradients of the weights, and working memory.

    A compiled model is left out: what its compiler leaves behind is not told from what a step takes.
    """
    found = {}
    for who in (OURS, LOW, *(peer for peer in peers if peer != "compile")):
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=fresh) as pool:
            growth = pool.submit(_peak, section, who, dtype, torch.get_num_threads()).result()
        if growth is not None:
            found[who] = growth / 1e6
    return found


def _peak(section: str, who: str, dtype: torch.dtype, threads: int) -> int | None:
    torch.set_num_threads(threads)
    _, module, inputs = network(section)
    step = step_of(who, module, inputs, target_of(module, inputs), dtype)
    step.begin()
    step.step(0)
    step.begin()  # gradients go
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)  # freed memory is not resident when the step starts
    growth = resident_growth(lambda: step.step(1))
    # Our kernels' working memory stays from the first step on; PyTorch's comes and goes with each.
    ours = env.scratch_peak_bytes() if who in (OURS, LOW) else 0
    return None if growth is None else growth + ours
