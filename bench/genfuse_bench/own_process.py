"""Peaks of memory, each competitor's in a process of its own: of every bench that tells them."""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

import genfuse
from genfuse import env
from genfuse_bench.memory import resident_growth

Prepare = Callable[..., Callable[[], object]]
"""(*case, who) to the call whose peak is wanted, after it has run once; to be found by its name in another process."""


def peaks_mb(prepare: Prepare, who: Iterable[str], *case: Any) -> dict[str, float]:
    """How far a call raises the peak of resident memory, in 10⁶ bytes by competitor; empty where nobody tells.

    Leave compiled ones out: what a compiler leaves behind is not told from what a call takes.
    """
    found = {}
    for name in who:
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=fresh) as pool:
            growth = pool.submit(peak, prepare, name, *case, threads=torch.get_num_threads()).result()
        if growth is not None:
            found[name] = growth / 1e6
    return found


def peak(prepare: Prepare, who: str, *case: Any, threads: int) -> int | None:
    """In this process, in bytes; None off Linux."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    call = prepare(*case, who)
    genfuse.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)  # freed memory is not resident when the call starts
    growth = resident_growth(call)
    # Our kernels' working memory stays from the first call on; PyTorch's comes and goes with each.
    ours = env.scratch_peak_bytes() if who.startswith("ours") else 0
    return None if growth is None else growth + ours
