"""Arrays that are slow to make, kept in the user's cache directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from genfuse.data.atomic import atomic_path

Item = TypeVar("Item", bound=np.generic)


def cache_directory() -> Path:
    """``$GENFUSE_CACHE`` where it is set, else the platform's place (``~/.cache/genfuse`` on Linux)."""
    named = os.environ.get("GENFUSE_CACHE")
    return Path(named) if named else user_cache_path("genfuse")


def cached_array(key: str, make: Callable[[], NDArray[Item]]) -> NDArray[Item]:
    """The array kept under ``key``, or ``make()``'s, kept for the next time.

    A file that cannot be read is made anew.
    """
    path = cache_directory() / f"{key}.npy"
    try:
        kept: NDArray[Item] = np.load(path, allow_pickle=False)
        return kept
    except (OSError, ValueError, EOFError):
        array = make()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    return array
