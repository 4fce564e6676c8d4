"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; when the block ends well it is synced to disk and becomes ``path``.

    When the block raises, ``path`` is as it was and nothing is left behind. Missing folders are made. ValueError,
    before anything is, for a ``path`` that :func:`refuse_special` refuses.
    """
    refuse_special("path", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"  # short, for the name may be as long as names can be
    temporary.touch(exist_ok=False)  # not tempfile's: that one would be its owner's alone to read
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def check_path(argument: str, path: Path) -> None:
    """ValueError where no file can be at ``path``.

    A folder is there, or what :func:`refuse_special` refuses, or no file can be made where it would be.
    """
    refuse_special(argument, path)
    if path.is_dir():
        raise ValueError(f"{argument} is {path}, which is a folder, expected the name of a file")
    _check_writable(argument, path, path.absolute().parent)


def refuse_special(argument: str, path: Path) -> None:
    """ValueError for a device, FIFO or socket (or a link to one): a file would take the place of what others use.

    And for what nothing can be found under: a name that is too long, a folder that may not be looked into.
    """
    if _exists(argument, path) and not (path.is_file() or path.is_dir()):
        raise ValueError(
            f"{argument} is {path}, which is a device, a pipe or a socket, expected the name of a file"
        )


def check_folder(argument: str, path: Path) -> None:
    """ValueError where no folder with files can be at ``path``."""
    if _exists(argument, path) and not path.is_dir():
        raise ValueError(f"{argument} is {path}, which is a file, expected the name of a folder")
    _check_writable(argument, path, path.absolute())


def _exists(argument: str, path: Path) -> bool:
    """Whether something is at ``path``. ValueError where that cannot be found out."""
    try:
        return path.exists()
    except OSError as error:
        raise ValueError(
            f"{argument} is {path}, which cannot be ({error.strerror}), expected another name"
        ) from None


def _check_writable(argument: str, path: Path, folder: Path) -> None:
    """ValueError where ``folder``, or the nearest above it that is there, takes no files."""
    above = next(place for place in (folder, *folder.parents) if place.exists())
    if not above.is_dir():
        raise ValueError(f"{argument} is {path}, but {above} is no folder, expected a name in one")
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise ValueError(
            f"{argument} is {path}, but nothing can be written to {above} ({error.strerror}); name another folder"
        ) from None


def sync(path: Path) -> None:
    """Have the operating system write the file or folder to disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
