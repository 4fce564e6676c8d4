"""Round-robin timing of competitors in one process, and which of its windows to believe.

Every round gives each competitor a turn, so that what disturbs the machine disturbs all alike. Rounds are
grouped into windows; a window in which other processes took more than a tenth of a core is dropped. What is kept is
summed up by `genfuse_bench.measurement`.
"""

from __future__ import annotations

import functools
import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from genfuse_bench.cold_cache import flush_of
from genfuse_bench.energy import meter_of
from genfuse_bench.load import Load
from genfuse_bench.machine import clock_mhz, synchronize
from genfuse_bench.measurement import Measurement, Window, summary

TURN = 0.005
"""Seconds that a competitor runs, in whole trajectories, before the next one's turn: caches and branch
predictors are its own for most of them."""

POWER = 0.2
"""Seconds that a competitor runs alone in each window where energy is measured: NVML's counter moves every 100 ms."""


class Trajectory(Protocol):
    """A run of steps that can be begun again and again."""

    def begin(self) -> None:
        """Back to the start; never timed."""

    def step(self, i: int) -> None:
        """Step i, after steps 0 to i − 1."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: `windows` clean windows of at least `window` seconds, at most `limit` seconds.

    rest    seconds of sleep before a turn, and then a lap that does not count: where competitors have threads of their
            own, those of the last one still spin, and would run against the next one's
    rounds  windows are added until there are so many: fewer have no interval of 95 %
    cold    empty the caches before each step
    """

    windows: int = 5
    window: float = 0.15
    limit: float = 4.0
    turn: float = TURN
    rest: float = 0.0
    rounds: int = 6
    cold: bool = False


def measure(
    trajectories: Mapping[str, Trajectory], steps: range, device: torch.device, effort: Effort = Effort()
) -> Measurement:
    """Time `steps` of each trajectory, interleaved; steps before `steps.start` run untimed."""
    warm_up(trajectories, steps, device)
    return collect({"": lambda: window(trajectories, steps, device, effort)}, effort)[""]


def collect(sources: Mapping[str, Callable[[], Window]], effort: Effort) -> dict[str, Measurement]:
    """Windows of each source in turn, until each has enough clean ones or its time is over."""
    windows: dict[str, list[Window]] = {name: [] for name in sources}
    end = time.monotonic() + effort.limit * len(sources)
    while True:
        for name, take in sources.items():
            if not _enough(windows[name], effort):
                windows[name].append(take())
        if time.monotonic() >= end or all(_enough(taken, effort) for taken in windows.values()):
            return {name: summary(taken) for name, taken in windows.items()}


def warm_up(trajectories: Mapping[str, Trajectory], steps: range, device: torch.device) -> None:
    """Run each until its time settles."""
    with _no_collection():
        for trajectory in trajectories.values():
            _warm_up(trajectory, steps, device)


def window(
    trajectories: Mapping[str, Trajectory], steps: range, device: torch.device, effort: Effort
) -> Window:
    """Rounds in which each trajectory has a turn, for `effort.window` seconds."""
    with _no_collection():
        before = Load.now()
        taken = _window(trajectories, steps, device, effort)
        disturbed = Load.now().disturbed_since(before)
        clock = clock_mhz(device)
        watts = {name: _watts(each, steps, device) for name, each in trajectories.items()}
        known = {name: power for name, power in watts.items() if power is not None}
        return Window(taken, disturbed, "cold" if effort.cold else "warm", known, clock)


def _enough(windows: list[Window], effort: Effort) -> bool:
    clean = [window for window in windows if not window.disturbed]
    return len(clean) >= effort.windows and sum(window.rounds for window in clean) >= effort.rounds


def laps(trajectory: Trajectory, steps: range, device: torch.device, *, cold: bool = False) -> list[float]:
    """The time of each step, in ns; on a GPU, between events in its stream. `cold`: caches are emptied before each."""
    trajectory.begin()
    for i in range(steps.start):
        trajectory.step(i)
    flush = _flush(device) if cold else None
    if device.type == "cuda":
        return _event_laps(trajectory, steps, device, flush)
    if flush is not None:
        return [_cold_lap(trajectory, i, flush) for i in steps]
    marks = [time.perf_counter_ns()]
    for i in steps:
        trajectory.step(i)
        marks.append(time.perf_counter_ns())
    return [float(b - a) for a, b in itertools.pairwise(marks)]


_flush = functools.cache(flush_of)


def _cold_lap(trajectory: Trajectory, i: int, flush: Callable[[], object]) -> float:
    flush()
    begin = time.perf_counter_ns()
    trajectory.step(i)
    return float(time.perf_counter_ns() - begin)


def _event_laps(
    trajectory: Trajectory, steps: range, device: torch.device, flush: Callable[[], object] | None
) -> list[float]:
    make_event: Any = torch.cuda.Event  # untyped in PyTorch
    pairs = [(make_event(enable_timing=True), make_event(enable_timing=True)) for _ in steps]
    synchronize(device)
    for (begin, end), i in zip(pairs, steps, strict=True):
        if flush is not None:
            flush()
        begin.record()
        trajectory.step(i)
        end.record()
    synchronize(device)
    return [1e6 * float(begin.elapsed_time(end)) for begin, end in pairs]


def _window(
    trajectories: Mapping[str, Trajectory], steps: range, device: torch.device, effort: Effort
) -> dict[str, list[list[float]]]:
    turns: dict[str, list[list[float]]] = {name: [] for name in trajectories}
    order = list(trajectories)
    end = time.monotonic() + effort.window
    while True:
        for name in order:
            if effort.rest:
                time.sleep(effort.rest)
                laps(trajectories[name], steps, device)
            turns[name].append(_turn(trajectories[name], steps, device, effort))
        order.append(order.pop(0))  # nobody always follows the same neighbour
        if time.monotonic() >= end:
            return turns


def _turn(trajectory: Trajectory, steps: range, device: torch.device, effort: Effort) -> list[float]:
    times: list[float] = []
    end = time.monotonic() + effort.turn
    while not times or time.monotonic() < end:
        times += laps(trajectory, steps, device, cold=effort.cold)
    return times


def _watts(trajectory: Trajectory, steps: range, device: torch.device) -> float | None:
    """Power while it runs alone for `POWER` seconds; None where nothing measures it."""
    meter = meter_of(device)
    if meter is None:
        return None
    joules, begin = meter.joules(), time.monotonic()
    while time.monotonic() < begin + POWER:
        laps(trajectory, steps, device)
    return (meter.joules() - joules) / (time.monotonic() - begin)


def _warm_up(trajectory: Trajectory, steps: range, device: torch.device, rounds: int = 12) -> None:
    """Run until two rounds in a row differ by less than a tenth."""
    last = statistics.median(laps(trajectory, steps, device))
    for _ in range(rounds):
        previous, last = last, statistics.median(laps(trajectory, steps, device))
        if abs(last - previous) < 0.1 * previous:
            return


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection, as `timeit` does."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass
class Call:
    """A trajectory whose every step is the same call."""

    call: Callable[[], object]

    def begin(self) -> None:
        """Nothing to go back to."""

    def step(self, i: int) -> None:
        """Call."""
        self.call()
