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


def keep_a_sample(
    config: pytest.Config, items: list[pytest.Item], most: int = 2, one_in: int | None = None
) -> None:
    """Of each test's cases leave at most so many, or one in so many where that is more; others every day.

    All of them where GENFUSE_PROOF is set.

    For the files that a process of its own runs, on an interpreter or an emulation: there a case costs a compilation,
    or as much time as a thousand on the hardware.
    """
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        cases[item.nodeid.split("[")[0]].append(item)
    kept = set()
    for several in cases.values():
        count = max(most, len(several) // one_in) if one_in else most
        kept.update(id(several[place]) for place in rotating(min(count, len(several)), len(several)))
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = [item for item in items if id(item) in kept]
