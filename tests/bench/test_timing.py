"""The harness: medians, untimed steps, disturbed windows."""

from __future__ import annotations

import gc
import time

import pytest
import torch

from genfuse_bench import cold_cache, timing
from genfuse_bench.load import Load
from genfuse_bench.measurement import Window
from genfuse_bench.timing import Effort, collect, laps, measure

CPU = torch.device("cpu")


class Recorded:
    """Remembers what was asked of it; a step takes `seconds`."""

    def __init__(self, seconds=0.0):
        self.calls, self.seconds = [], seconds

    def begin(self):
        self.calls.append("begin")
        time.sleep(20 * self.seconds)

    def step(self, i):
        self.calls.append(i)
        time.sleep(self.seconds)


def test_laps_time_the_given_steps_after_those_before():
    run = Recorded()
    assert len(laps(run, range(2, 5), CPU)) == 3
    assert run.calls == ["begin", 0, 1, 2, 3, 4]


def test_median_is_of_steps_and_leaves_begin_out():
    measured = measure({"a": Recorded(0.002), "b": Recorded(0)}, range(1, 4), CPU, Effort(1, 0.01, 1))
    assert 2000 <= measured.us["a"] < 20 * 2000
    assert measured.us["b"] < measured.us["a"]


def test_disturbed_windows_are_dropped_where_others_are_clean(monkeypatch):
    times = iter([9e9, 9e9, 1e3, 2e3, 3e3])
    verdicts = iter([True, True, False, False, False])
    monkeypatch.setattr(timing, "_window", lambda *args: {"a": [[next(times)]]})
    monkeypatch.setattr(Load, "disturbed_since", lambda self, before: next(verdicts))
    measured = measure({"a": Recorded()}, range(1), CPU, Effort(windows=3, window=0, limit=10, rounds=1))
    assert (measured.us["a"], measured.windows, measured.dropped, measured.contended) == (2.0, 3, 2, False)


def test_a_measurement_with_no_clean_window_says_so(monkeypatch):
    monkeypatch.setattr(Load, "disturbed_since", lambda self, before: True)
    measured = measure({"a": Recorded()}, range(1), CPU, Effort(windows=3, window=0, limit=0))
    assert measured.contended
    assert measured.windows == 1


def test_sources_take_windows_in_turn_until_each_has_enough():
    taken = []

    def source(name, disturbed):
        def take():
            taken.append(name)
            return Window({name: [[1e3 * len(taken)]]}, disturbed)

        return take

    measured = collect(
        {"a": source("a", False), "b": source("b", True)}, Effort(windows=1, limit=0.01, rounds=1)
    )
    assert taken[:3] == ["a", "b", "b"]
    assert measured["a"].us == {"a": 1.0}
    assert measured["b"].contended and not measured["a"].contended


def test_load_of_others_is_the_machine_less_ourselves():
    before = Load(machine=10.0, own=5.0, at=0.0)
    assert not Load(machine=11.0, own=6.0, at=1.0).disturbed_since(before)
    assert Load(machine=11.5, own=6.0, at=1.0).disturbed_since(before)
    assert not Load(machine=None, own=6.0, at=1.0).disturbed_since(before)


def test_collection_is_on_again_after_an_error():
    class Failing(Recorded):
        def step(self, i):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        measure({"a": Failing()}, range(1), CPU)
    assert gc.isenabled()


def test_a_cold_step_follows_a_flush(monkeypatch):
    calls = []
    monkeypatch.setattr(timing, "_flush", lambda device: lambda: calls.append("flush"))

    class Stepping(Recorded):
        def step(self, i):
            calls.append(i)

    assert len(laps(Stepping(), range(1, 3), CPU, cold=True)) == 2
    assert calls == [0, "flush", 1, "flush", 2]
    taken = measure({"a": Stepping()}, range(1), CPU, Effort(1, 0, 0, cold=True))
    assert taken.cache == "cold"


def test_the_flush_is_twice_the_last_cache():
    assert cold_cache._bytes("32768K\n") == 2**25 and cold_cache._bytes("2M") == 2**21
    assert cold_cache.flush_of(CPU)().numel() * 4 == 2 * min(cold_cache._last_cache(CPU), cold_cache.MOST)


def test_power_is_of_a_competitor_alone(monkeypatch):
    class Meter:
        name, read = "stand-in", 0.0

        def joules(self):
            self.read += 5
            return self.read

    monkeypatch.setattr(timing, "meter_of", lambda device: Meter())
    monkeypatch.setattr(timing, "POWER", 0.01)
    measured = measure({"a": Recorded(0.001)}, range(1), CPU, Effort(1, 0, 0))
    assert 100 < measured.watts["a"] <= 500
    assert measured.timing("a").joules["a"] == pytest.approx(measured.watts["a"] * measured.us["a"] / 1e6)
