"""A folder of the user's own pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.data.dataset import ImageDataset, check_size, to_unit_range
from genfuse.data.picture import read_picture

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


Skip = Callable[[str], None]


def folder(
    path: Path,
    size: int = 32,
    progress: Callable[[int, int], None] | None = None,
    skip: Skip | None = None,
) -> ImageDataset:
    """Every picture in ``path`` and its subfolders; a subfolder's name is its pictures' class.

    Each is composed on white, cropped to its central square and scaled to ``size``.

    Args:
        path: the folder; pictures directly in it have its own name as their class.
        size: height and width in pixels, at least 8.
        progress: called with (pictures read, pictures in all).
        skip: called with what is wrong with a picture that cannot be read, which is left out; None: it is refused.

    Returns:
        (N, 3, size, size) pictures; all may be mirrored.

    Raises:
        ValueError: no such folder, no picture in it, one that cannot be read, or ``size`` is below 8.
    """
    check_size(size)
    pictures = read_all(_files(path), size, progress, skip)
    name = path.resolve().name
    owners = [name if file.parent == path else file.relative_to(path).parts[0] for file in pictures]
    names = tuple(sorted(set(owners)))
    labels = torch.tensor([names.index(owner) for owner in owners], dtype=torch.int64)
    may_flip = torch.ones(len(labels), dtype=torch.bool)
    return ImageDataset(name, torch.stack([*pictures.values()]), labels, names, may_flip)


def paired_folder(path: Path, size: int = 32, skip: Skip | None = None) -> ImageDataset:
    """The pictures of two subfolders that have the same names, in pairs: (N, 6, size, size).

    The first subfolder, in the order of the alphabet, has what is given, the second what is wanted. Of ten pairs or
    more every tenth is held out. Arguments and other errors as those of :func:`folder`.

    Raises:
        ValueError: there are not two subfolders, or a picture of one is not in the other.
    """
    check_size(size)
    _files(path)
    sides = sorted(side for side in path.iterdir() if side.is_dir())
    if len(sides) != 2:
        raise ValueError(f"{path} has {len(sides)} subfolders, expected two, of pictures with the same names")
    found = [{file.relative_to(side).as_posix(): file for file in _files(side)} for side in sides]
    for single in sorted(found[0].keys() ^ found[1].keys()):
        where, other = sides if single in found[0] else reversed(sides)
        raise ValueError(f"{where / single} has no partner of its name in {other}: add or remove it")
    views = [read_all([*side.values()], size, None, skip) for side in found]
    whole = [name for name in found[0] if all(side[name] in views[place] for place, side in enumerate(found))]
    if not whole:
        raise ValueError(f"{path} has no pair of pictures that can be read")
    images = [torch.stack([views[place][side[name]] for name in whole]) for place, side in enumerate(found)]
    zeros, may_flip = torch.zeros(len(whole), dtype=torch.int64), torch.ones(len(whole), dtype=torch.bool)
    name = path.resolve().name
    pairs = ImageDataset(name, torch.cat(images, 1), zeros, (name,), may_flip, views=2)
    return pairs.split(torch.arange(len(whole)) % 10 == 9) if len(whole) >= 10 else pairs


def pictures_at(path: Path, size: int) -> Tensor:
    """(N, 3, size, size): one's own picture, or those of a folder in the order of their names.

    ValueError for what is no picture, and names it.
    """
    files = [path] if path.is_file() else _files(path)
    return torch.stack([*read_all(files, size).values()])


def read_all(
    files: Sequence[Path],
    size: int,
    progress: Callable[[int, int], None] | None = None,
    skip: Skip | None = None,
) -> dict[Path, Tensor]:
    """(3, size, size) by file. ValueError for the first that cannot be read; for none at all where they are skipped."""
    pictures: dict[Path, Tensor] = {}
    for index, file in enumerate(files):
        try:
            pictures[file] = to_unit_range(torch.from_numpy(_read(file, size))[None])[0]
        except ValueError as error:
            if skip is None:
                raise
            skip(str(error))
        if progress is not None:
            progress(index + 1, len(files))
    if not pictures:
        raise ValueError(f"none of {len(files)} pictures, {files[0]} the first, can be read")
    return pictures


def _files(path: Path) -> list[Path]:
    """The pictures below a folder, sorted. ValueError where there is none."""
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise ValueError(f"{path} holds no pictures: expected files ending in {', '.join(sorted(SUFFIXES))}")
    return files


def _read(file: Path, size: int) -> NDArray[np.uint8]:
    """(size, size, 3)."""
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(read_picture(file), (size, size), Image.Resampling.LANCZOS)
    return np.array(fitted, dtype=np.uint8)
