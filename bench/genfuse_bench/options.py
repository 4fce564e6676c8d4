"""Options of the commands."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import typer


def some_of(option: str, text: str | None, known: Collection[str], default: Sequence[str]) -> Sequence[str]:
    """The comma-separated names, each of them known."""
    if text is None:
        return default
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}", param_hint=option)
    return names
