"""A folder of the user's own pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from genfuse.data.dataset import ImageDataset, to_unit_range
from genfuse.data.picture import read_picture

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def folder(path: Path, size: int = 32, progress: Callable[[int, int], None] | None = None) -> ImageDataset:
    """Every picture in ``path`` and its subfolders; a subfolder's name is its pictures' class.

    Each is composed on white, cropped to its central square and scaled to ``size``.

    Args:
        path: the folder; pictures directly in it have its own name as their class.
        size: height and width in pixels, at least 8.
        progress: called with (pictures read, pictures in all).

    Returns:
        (N, 3, size, size) pictures; all may be mirrored.

    Raises:
        ValueError: no such folder, no picture in it, one that cannot be read, or ``size`` is below 8.
    """
    if size < 8:
        raise ValueError(f"size is {size}, expected at least 8 pixels")
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise ValueError(f"{path} holds no pictures: expected files ending in {', '.join(sorted(SUFFIXES))}")
    pixels = np.empty((len(files), size, size, 3), np.uint8)
    for index, file in enumerate(files):
        pixels[index] = _read(file, size)
        if progress is not None:
            progress(index + 1, len(files))
    name = path.resolve().name
    owners = [name if file.parent == path else file.relative_to(path).parts[0] for file in files]
    names = tuple(sorted(set(owners)))
    labels = torch.tensor([names.index(owner) for owner in owners], dtype=torch.int64)
    may_flip = torch.ones(len(files), dtype=torch.bool)
    return ImageDataset(name, to_unit_range(torch.from_numpy(pixels)), labels, names, may_flip)


def _read(file: Path, size: int) -> NDArray[np.uint8]:
    """(size, size, 3)."""
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(read_picture(file), (size, size), Image.Resampling.LANCZOS)
    return np.asarray(fitted, dtype=np.uint8)
