"""Which of an op's generated cases a run takes."""

from __future__ import annotations

import os
from datetime import date

WHOLE = os.environ.get("GENFUSE_PROOF", "") not in ("", "0")
"""Whether every case is to be run."""


def rotating(count: int, of: int) -> list[int]:
    """`count` seeds of `of`, others every day, or all where GENFUSE_PROOF is set; tests are named after them."""
    if WHOLE:
        return list(range(of))
    first = date.today().toordinal() * count
    return [(first + i) % of for i in range(count)]
