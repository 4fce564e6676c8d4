"""The user's cache directory: what is slow to make is kept there, readable by nobody else, and checked when read."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_directory() -> Path:
    """``$GENFUSE_CACHE`` where it is set, else the platform's place (``~/.cache/genfuse`` on Linux)."""
    named = os.environ.get("GENFUSE_CACHE")
    return Path(named) if named else user_cache_path("genfuse")


def private_folder(folder: Path) -> Path:
    """The folder, made where it is missing, with the missing ones above it, for the user alone (mode 0700).

    PermissionError where it is there and everybody may write to it: what is kept in it would be anybody's to change.
    """
    for place in (*reversed(folder.parents), folder):
        if not place.exists():
            place.mkdir(mode=0o700, exist_ok=True)  # another process may be as fast
    if folder.stat().st_mode & 0o002:
        raise PermissionError(
            f"{folder} may be written by everybody, expected a folder of your own: chmod 700, or set GENFUSE_CACHE"
        )
    return folder
