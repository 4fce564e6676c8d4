"""Which of an op's generated cases a run takes."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import date

import pytest

WHOLE = os.environ.get("GENFUSE_PROOF", "") not in ("", "0")
"""Whether every case is to be run."""


def rotating(count: int, of: int) -> list[int]:
    """`count` seeds of `of`, others every day, or all where GENFUSE_PROOF is set; tests are named after them."""
    if WHOLE:
        return list(range(of))
    first = date.today().toordinal() * count
    return [(first + i) % of for i in range(count)]


def keep_a_sample(config: pytest.Config, items: list[pytest.Item], most: int = 3) -> None:
    """Of each test's cases leave at most so many, others every day, where GENFUSE_PROOF is not set.

    For the files that a process of its own runs, on an interpreter or an emulation: there a case costs a compilation,
    or as much time as a thousand on the hardware.
    """
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        cases[item.nodeid.split("[")[0]].append(item)
    kept = {
        id(several[place])
        for several in cases.values()
        for place in rotating(min(most, len(several)), len(several))
    }
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = [item for item in items if id(item) in kept]
