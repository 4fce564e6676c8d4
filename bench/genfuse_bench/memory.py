"""What a step allocates: by PyTorch's profiler, and by the peak of a process of its own."""

from __future__ import annotations

import gc
import json
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.peers import PEERS
from genfuse_bench.solvers import SOLVERS, TIMED
from genfuse_bench.timing import Trajectory
from genfuse_bench.trajectories import StepObject, face, inputs


@dataclass(frozen=True)
class MemoryRow:
    """Bytes of one competitor, past the first steps, when the solver's own buffers exist."""

    op: str
    solver: str
    shape: tuple[int, ...]
    dtype: str
    who: str
    sample_bytes: int
    """bytes of x: what the others are to be held against"""
    allocated_a_step: float
    """tensors that a step asks PyTorch for, whether or not it gives them back"""
    peak_growth: int
    """most that live at once beyond what lived when the steps began"""
    resident_growth: int | None
    """growth of the process's peak resident memory in a second trajectory; None off Linux"""


def memory_row(solver: str, shape: tuple[int, ...], who: str, threads: int) -> MemoryRow:
    """`who` is "ours", "face" or a peer's name; float32 on the CPU, in a fresh process."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        return pool.submit(_memory_row, solver, shape, who, threads).result()


def _memory_row(solver: str, shape: tuple[int, ...], who: str, threads: int) -> MemoryRow:
    torch.set_num_threads(threads)
    keep_freed_memory()
    x, model_output = inputs(shape, torch.float32, torch.device("cpu"))
    chosen = SOLVERS[solver]
    makers: dict[str, Any] = {"ours": StepObject, "face": face, **{n: p.trajectory for n, p in PEERS.items()}}
    trajectory: Trajectory = makers[who](chosen, x, model_output)
    with torch.no_grad():
        resident = _resident_growth(trajectory)
        allocated, peak = allocations(trajectory, TIMED)
    return MemoryRow(
        op="memory",
        solver=solver,
        shape=shape,
        dtype="float32",
        who=who,
        sample_bytes=x.numel() * x.element_size(),
        allocated_a_step=allocated / len(TIMED),
        peak_growth=peak,
        resident_growth=resident,
    )


def allocations(trajectory: Trajectory, steps: range) -> tuple[int, int]:
    """(bytes that PyTorch's allocators hand out during `steps`, most of them that live at once)."""
    _advance(trajectory, steps)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        for i in steps:
            trajectory.step(i)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    sizes = [size for _, size in changes]
    return sum(size for size in sizes if size > 0), max(accumulate(sizes, initial=0))


def _resident_growth(trajectory: Trajectory) -> int | None:
    """How far the peak of resident memory rises over the timed steps of a second trajectory."""
    _advance(trajectory, range(TIMED.stop, TIMED.stop))
    _advance(trajectory, TIMED)

    def steps() -> None:
        for i in TIMED:
            trajectory.step(i)

    return resident_growth(steps)


def resident_growth(work: Callable[[], object]) -> int | None:
    """How far the work raises the process's peak of resident memory, in bytes; None off Linux."""
    gc.collect()
    try:
        # from here on the peak is counted from what is resident now
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status("VmRSS")
        work()
        return max(0, _status("VmHWM") - before)
    except (OSError, StopIteration):
        return None


def _advance(trajectory: Trajectory, steps: range) -> None:
    trajectory.begin()
    for i in range(steps.start):
        trajectory.step(i)


def _status(field: str) -> int:
    """Bytes of an entry of /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])
