"""Pictures to learn from: OpenMoji, scikit-learn's digits, a folder of one's own; points of the plane."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from genfuse.data.dataset import Data, ImageDataset
from genfuse.data.digits import digits
from genfuse.data.folder import folder
from genfuse.data.grid import image_grid, save_grid
from genfuse.data.mixtures import MIXTURES, Mixture, mixture
from genfuse.data.openmoji import openmoji
from genfuse.names import unknown_name

__all__ = [
    "MIXTURES",
    "Data",
    "ImageDataset",
    "Mixture",
    "digits",
    "folder",
    "image_grid",
    "load",
    "mixture",
    "openmoji",
    "save_grid",
]


PICTURES = ("openmoji", "digits")


def load(
    source: str | Path, size: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Data:
    """What a source has: pictures, or points of the plane.

    Args:
        source: "openmoji", "digits", a folder, or a mixture's name (:func:`mixture`).
        size: height and width in pixels; None: 8 for digits, 32 for the others. Points have none.
        progress: called with (pictures ready, pictures in all) where that takes time.

    Raises:
        ValueError: ``source`` is none of these, or see :func:`folder`.
        ModuleNotFoundError: the source's package is not installed.
    """
    if source in MIXTURES:
        if size is not None:
            raise ValueError(f"size is {size}, expected none: {source} has points, not pictures")
        return mixture(str(source))
    if source in PICTURES or Path(source).is_dir():
        return pictures(source, size, progress)
    raise ValueError(unknown_name("data", str(source), ("a folder of pictures", *PICTURES, *MIXTURES)))


def pictures(
    source: str | Path, size: int | None = None, progress: Callable[[int, int], None] | None = None
) -> ImageDataset:
    """The pictures of a source, as :func:`load`."""
    if source == "openmoji":
        return openmoji(size or 32, progress)
    if source == "digits":
        return digits(size or 8)
    return folder(Path(source), size or 32, progress)
