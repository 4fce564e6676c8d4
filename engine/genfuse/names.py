"""Names that a user gives, and what to say where one is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_LISTED = 60
"""Names in a message: of thousands of classes only the first."""


def unknown_name(argument: str, got: object, expected: Iterable[str]) -> str:
    """The message for a name that is not one of `expected`, with the nearest right one where there is one."""
    names = list(expected)
    near = difflib.get_close_matches(str(got).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(map(repr, names[:MOST_LISTED])) + (", ..." if len(names) > MOST_LISTED else "")
    return f"{argument} is {got!r}, expected one of {listed}{hint}"


def check_name(argument: str, got: object, expected: Iterable[str]) -> str:
    """`got` itself where it is one of `expected`, else ValueError."""
    names = tuple(expected)
    if not isinstance(got, str) or got not in names:
        raise ValueError(unknown_name(argument, got, names))
    return got
