"""Medians with intervals, paired ratios, outliers: what windows come to."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from genfuse_bench.measurement import Interval, Window, confidence_of, interval, quotient, summary


@pytest.mark.parametrize("count", [6, 7, 20, 50, 133])
def test_the_interval_is_the_narrowest_of_order_statistics_with_enough_confidence(count: int) -> None:
    found = interval(range(count))
    k = int(found.low) + 1
    assert found.high == count - k and found.median == (count - 1) / 2
    assert 0.95 <= confidence_of(count) == pytest.approx(1 - 2 * stats.binom.cdf(k - 1, count, 0.5))
    assert 1 - 2 * stats.binom.cdf(k, count, 0.5) < 0.95


def test_few_values_give_their_extremes_and_say_with_what_confidence() -> None:
    assert interval([3.0, 1.0, 2.0]) == Interval(1.0, 2.0, 3.0)
    assert confidence_of(3) == 0.75 and confidence_of(1) == 0.0


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).lognormal(0.0, 1.0, (4000, 21))  # skewed; its median is 1
    held = [found.low <= 1 <= found.high for found in map(interval, draws)]
    assert np.mean(held) == pytest.approx(confidence_of(21), abs=4 * (0.05 * 0.95 / 4000) ** 0.5)


def test_a_ratio_is_of_the_same_rounds() -> None:
    """The machine is half as fast in every second round, for both."""
    slow = [1.0, 2.0] * 10
    turns = {"ours": [[1e3 * s] for s in slow], "peer": [[3e3 * s] for s in slow]}
    taken = summary([Window(turns, disturbed=False)])
    assert taken.ratio("peer", "ours") == (3.0, 3.0, 3.0)
    assert quotient(interval(taken.rounds_us["peer"]), interval(taken.rounds_us["ours"])).low == 1.5
    timing = taken.timing("ours")
    assert timing.ratio == {"peer": Interval(3.0, 3.0, 3.0)} and timing.interval_us["ours"] == (1.0, 2.0)
    assert timing.rounds == 20 and timing.joules is None


def test_outliers_go_and_are_counted() -> None:
    turns = {
        "a": [[1e3, 1.01e3, 0.99e3, 1e3]] * 9 + [[1e3, 9e3, 1e3, 1e3]],
        "b": [[1e3] * 4] * 9 + [[5e3] * 4],
    }
    taken = summary([Window(turns, disturbed=False)])
    assert taken.outliers == {"a": 1, "b": 4} and taken.laps == {"a": 39, "b": 36}
    assert taken.rounds == 9  # the last has nothing of b's left
    assert taken.us == {"a": 1.0, "b": 1.0}


def test_nothing_of_ours_is_told_where_no_speed_may_be() -> None:
    window = Window({"ours": [[1e3]], "ours low": [[1e3]], "peer": [[2e3]]}, disturbed=True)
    timing = summary([window]).timing(None)
    assert timing.us == {"peer": 2.0} and timing.interval_us.keys() == {"peer"} and not timing.ratio
    assert timing.contended and timing.dropped == 0 and timing.confidence == 0
