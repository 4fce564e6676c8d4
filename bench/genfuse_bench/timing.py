"""Round-robin timing of competitors in one process, and which of its windows to believe.

Every round gives each competitor a turn, so that what disturbs the machine disturbs all alike. Rounds are
grouped into windows; a window in which other processes took more than a tenth of a core is dropped.
"""

from __future__ import annotations

import gc
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from genfuse_bench.machine import synchronize

TURN = 0.005
"""Seconds that a competitor runs, in whole trajectories, before the next one's turn: caches and branch
predictors are its own for most of them."""


class Trajectory(Protocol):
    """A run of steps that can be begun again and again."""

    def begin(self) -> None:
        """Back to the start; never timed."""

    def step(self, i: int) -> None:
        """Step i, after steps 0 to i − 1."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: `windows` clean windows of at least `window` seconds, at most `limit` seconds."""

    windows: int = 5
    window: float = 0.15
    limit: float = 4.0
    turn: float = TURN
    rest: float = 0.0
    """Seconds of sleep before a turn, and then a lap that does not count: where competitors have threads of their own,
    those of the last one still spin, and would run against the next one's."""


@dataclass(frozen=True)
class Measurement:
    """Median time of a step by competitor, in µs, and how quiet the machine was."""

    us: dict[str, float]
    fastest_us: dict[str, float]
    """first decile: what a quieter machine would give"""
    spread: dict[str, float]
    """(third − first quartile) / median"""
    windows: int
    dropped: int
    contended: bool
    """Every window was disturbed: these figures come from disturbed ones."""


@dataclass(frozen=True)
class Window:
    """Times of steps in ns, by competitor."""

    laps: dict[str, list[float]]
    disturbed: bool
    """whether others took part of the machine meanwhile"""


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
            if _clean(windows[name]) < effort.windows:
                windows[name].append(take())
        if time.monotonic() >= end or all(_clean(taken) >= effort.windows for taken in windows.values()):
            return {name: _summary(taken) for name, taken in windows.items()}


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
        return Window(taken, Load.now().disturbed_since(before))


def _clean(windows: list[Window]) -> int:
    return sum(not window.disturbed for window in windows)


def _summary(windows: list[Window]) -> Measurement:
    clean = [window.laps for window in windows if not window.disturbed]
    kept = clean or [window.laps for window in windows]
    times = {name: [lap for laps in kept for lap in laps[name]] for name in kept[0]}
    return Measurement(
        us={name: statistics.median(laps) / 1e3 for name, laps in times.items()},
        fastest_us={name: _first_decile(laps) / 1e3 for name, laps in times.items()},
        spread={name: _spread(laps) for name, laps in times.items()},
        windows=len(kept),
        dropped=len(windows) - len(kept),
        contended=not clean,
    )


def laps(trajectory: Trajectory, steps: range, device: torch.device) -> list[float]:
    """The time of each step, in ns; on a GPU, between events in its stream."""
    trajectory.begin()
    for i in range(steps.start):
        trajectory.step(i)
    if device.type == "cuda":
        return _event_laps(trajectory, steps, device)
    marks = [time.perf_counter_ns()]
    for i in steps:
        trajectory.step(i)
        marks.append(time.perf_counter_ns())
    return [float(b - a) for a, b in itertools.pairwise(marks)]


def _event_laps(trajectory: Trajectory, steps: range, device: torch.device) -> list[float]:
    make_event: Any = torch.cuda.Event  # untyped in PyTorch
    events = [make_event(enable_timing=True) for _ in range(len(steps) + 1)]
    synchronize(device)
    events[0].record()
    for event, i in zip(events[1:], steps, strict=True):
        trajectory.step(i)
        event.record()
    synchronize(device)
    return [1e6 * float(a.elapsed_time(b)) for a, b in itertools.pairwise(events)]


def _window(
    trajectories: Mapping[str, Trajectory], steps: range, device: torch.device, effort: Effort
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in trajectories}
    order = list(trajectories)
    end = time.monotonic() + effort.window
    while True:
        for name in order:
            if effort.rest:
                time.sleep(effort.rest)
                laps(trajectories[name], steps, device)
            turn = time.monotonic() + effort.turn
            while True:
                times[name] += laps(trajectories[name], steps, device)
                if time.monotonic() >= turn:
                    break
        order.append(order.pop(0))  # nobody always follows the same neighbour
        if time.monotonic() >= end:
            return times


def _warm_up(trajectory: Trajectory, steps: range, device: torch.device, rounds: int = 12) -> None:
    """Run until two rounds in a row differ by less than a tenth."""
    last = statistics.median(laps(trajectory, steps, device))
    for _ in range(rounds):
        previous, last = last, statistics.median(laps(trajectory, steps, device))
        if abs(last - previous) < 0.1 * previous:
            return


def _first_decile(values: list[float]) -> float:
    return statistics.quantiles(values, n=10)[0] if len(values) > 1 else values[0]


def _spread(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    first, middle, third = statistics.quantiles(values, n=4)
    return (third - first) / middle


@dataclass(frozen=True)
class Load:
    """Processor seconds so far: of the whole machine (None off Linux) and of this process; and the time."""

    machine: float | None
    own: float
    at: float

    @classmethod
    def now(cls) -> Load:
        """Read the counters."""
        return cls(_busy_seconds(), time.process_time(), time.monotonic())

    def disturbed_since(self, before: Load) -> bool:
        """Whether others took more than a tenth of a core; two ticks of 10 ms are let pass."""
        if self.machine is None or before.machine is None:
            return False
        others = (self.machine - before.machine) - (self.own - before.own)
        return others > 0.1 * (self.at - before.at) + 0.02


def _busy_seconds() -> float | None:
    """Busy time of all cores together, what the hypervisor took included."""
    try:
        with Path("/proc/stat").open(encoding="ascii") as lines:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, lines.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


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
