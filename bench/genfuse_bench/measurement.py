"""What windows of turns come to: medians with their intervals, ratios of those who took turns, what was dropped."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

CONFIDENCE = 0.95

FENCE, LEAST = 3.0, 0.02
"""A lap is an outlier beyond the third quartile and this many times the quartiles' distance (Tukey's far fence), which
counts as no less than this share of the median."""


class Interval(NamedTuple):
    """A median, and what holds it between its ends with `CONFIDENCE`, or with all the confidence there is."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Window:
    """What a window saw."""

    turns: dict[str, list[list[float]]]
    """times of steps in ns, by competitor and round; all have as many rounds"""
    disturbed: bool
    """whether others took part of the machine meanwhile"""
    cache: str = "warm"
    watts: dict[str, float] = field(default_factory=dict)
    """power while a competitor runs alone; empty where nothing measures it"""
    clock_mhz: float | None = None

    @property
    def rounds(self) -> int:
        """How many."""
        return len(next(iter(self.turns.values())))


@dataclass(frozen=True)
class Timing:
    """What a row says of its times and of how they were taken; µs of a step."""

    us: dict[str, float]
    """medians of the rounds' medians, by competitor"""
    interval_us: dict[str, tuple[float, float]]
    ratio: dict[str, Interval]
    """a competitor's time over ours, of the same rounds"""
    confidence: float
    """of the intervals"""
    rounds: int
    laps: dict[str, int]
    outliers: dict[str, int]
    """laps that were dropped, by competitor"""
    windows: int
    dropped: int
    """windows in which others used the machine"""
    contended: bool
    """every window was disturbed: these figures come from disturbed ones"""
    cache: str
    """warm, or cold: emptied before each step"""
    clock_mhz: float | None
    joules: dict[str, float] | None
    """of a step, by competitor; None where nothing measures it"""


@dataclass(frozen=True, kw_only=True)
class TimedRow:
    """What rows with times have in common; `timing` is None of a row that has none."""

    timing: Timing | None = None

    @property
    def contended(self) -> bool:
        """Whether others used the machine all the while."""
        return self.timing is not None and self.timing.contended


@dataclass(frozen=True)
class Measurement:
    """Median time of a step by competitor, in µs, and how quiet the machine was."""

    rounds_us: dict[str, list[float]]
    """medians of the turns of each round"""
    us: dict[str, float]
    fastest_us: dict[str, float]
    """first decile: what a quieter machine would give"""
    spread: dict[str, float]
    """(third − first quartile) / median"""
    laps: dict[str, int]
    outliers: dict[str, int]
    windows: int
    dropped: int
    contended: bool
    cache: str
    watts: dict[str, float]
    clock_mhz: float | None

    @property
    def rounds(self) -> int:
        """How many."""
        return len(next(iter(self.rounds_us.values())))

    def ratio(self, over: str, under: str) -> Interval:
        """Of two competitors' times: from round to round, for what slows a round slows both."""
        pairs = zip(self.rounds_us[over], self.rounds_us[under], strict=True)
        return interval([a / b for a, b in pairs])

    def only(self, names: Mapping[str, str]) -> Measurement:
        """Of these competitors alone, under the names that they are given."""
        of = {each.name: getattr(self, each.name) for each in fields(self)}
        for key, one in of.items():
            if isinstance(one, dict):
                of[key] = {new: one[old] for old, new in names.items() if old in one}
        return Measurement(**of)

    def timing(self, ours: str | None) -> Timing:
        """For a row; `ours` is None where no speed of it may be reported."""
        others = [name for name in self.us if not name.startswith("ours")]
        shown = [name for name in self.us if ours is not None or name in others]
        ends = {name: interval(self.rounds_us[name]) for name in shown}
        return Timing(
            us={name: self.us[name] for name in shown},
            interval_us={name: (each.low, each.high) for name, each in ends.items()},
            ratio={} if ours is None else {name: self.ratio(name, ours) for name in shown if name != ours},
            confidence=confidence_of(self.rounds),
            rounds=self.rounds,
            laps=self.laps,
            outliers=self.outliers,
            windows=self.windows,
            dropped=self.dropped,
            contended=self.contended,
            cache=self.cache,
            clock_mhz=self.clock_mhz,
            joules={name: self.watts[name] * self.us[name] / 1e6 for name in shown} if self.watts else None,
        )


def summary(windows: Sequence[Window]) -> Measurement:
    """Of the clean windows, or, where none is, of all; laps that are outliers go."""
    clean = [window for window in windows if not window.disturbed]
    kept = clean or list(windows)
    turns = {name: [turn for window in kept for turn in window.turns[name]] for name in kept[0].turns}
    fences = {name: _fence([lap for turn in several for lap in turn]) for name, several in turns.items()}
    inside = {
        name: [[lap for lap in turn if lap <= fences[name]] for turn in several]
        for name, several in turns.items()
    }
    whole = [all(several) for several in zip(*inside.values(), strict=True)]
    if not any(whole):  # few rounds of one lap each
        inside, whole = turns, [True] * len(whole)
    rounds = {
        name: [statistics.median(turn) / 1e3 for turn, fit in zip(several, whole, strict=True) if fit]
        for name, several in inside.items()
    }
    laps = {name: [lap / 1e3 for turn in several for lap in turn] for name, several in inside.items()}
    clocks = [window.clock_mhz for window in kept if window.clock_mhz is not None]
    return Measurement(
        rounds_us=rounds,
        us={name: statistics.median(medians) for name, medians in rounds.items()},
        fastest_us={name: _first_decile(each) for name, each in laps.items()},
        spread={name: _spread(each) for name, each in laps.items()},
        laps={name: len(each) for name, each in laps.items()},
        outliers={name: sum(map(len, turns[name])) - len(laps[name]) for name in turns},
        windows=len(kept),
        dropped=len(windows) - len(kept),
        contended=not clean,
        cache=kept[0].cache,
        watts={name: statistics.fmean(window.watts[name] for window in kept) for name in kept[0].watts},
        clock_mhz=statistics.fmean(clocks) if clocks else None,
    )


def interval(values: Iterable[float]) -> Interval:
    """The median and its interval by order statistics, whatever the distribution.

    Of n independent values the k-th smallest and the k-th largest hold the median with probability 1 − 2 P(B < k),
    B binomial(n, ½): the largest k with no less than `CONFIDENCE`, or the extremes of fewer than six values (David and
    Nagaraja, Order Statistics, 2003, section 7.1).
    """
    ordered = sorted(values)
    k = _rank(len(ordered))
    return Interval(ordered[k - 1], statistics.median(ordered), ordered[-k])


def quotient(over: Interval, under: Interval) -> Interval:
    """Of two that were not measured together: as far apart as their ends."""
    return Interval(over.low / under.high, over.median / under.median, over.high / under.low)


def confidence_of(count: int) -> float:
    """Of `interval` of so many values."""
    return 1 - 2 * _below(_rank(count), count)


def _rank(count: int) -> int:
    k = 1
    while 1 - 2 * _below(k + 1, count) >= CONFIDENCE:
        k += 1
    return k


def _below(k: int, count: int) -> float:
    """P(B < k)."""
    return float(sum(math.comb(count, i) for i in range(k)) / 2**count)


def _fence(laps: Sequence[float]) -> float:
    if len(laps) < 8:
        return math.inf
    first, middle, third = statistics.quantiles(laps, n=4)
    return third + FENCE * max(third - first, LEAST * middle)


def _first_decile(values: list[float]) -> float:
    return statistics.quantiles(values, n=10)[0] if len(values) > 1 else values[0]


def _spread(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    first, middle, third = statistics.quantiles(values, n=4)
    return (third - first) / middle
