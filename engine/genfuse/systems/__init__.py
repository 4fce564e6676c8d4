"""The field's systems: network, loss and sampling of each in one file that reads beside its paper."""

from __future__ import annotations

import difflib
from importlib import import_module
from types import ModuleType

NAMES = ("ddpm",)


def get(name: str) -> ModuleType:
    """The system of that name: a module with ``train`` and ``load``.

    Raises:
        ValueError: there is no such system; the message names the nearest.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"system is {name!r}, expected one of {', '.join(map(repr, NAMES))}{hint}")
    return import_module(f"genfuse.systems.{name}")
