"""Pictures to learn from: OpenMoji, scikit-learn's digits, a folder of one's own; points of the plane."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from genfuse.data.dataset import ImageDataset
from genfuse.data.digits import digits
from genfuse.data.folder import folder
from genfuse.data.grid import image_grid, save_grid
from genfuse.data.mixtures import Mixture, mixture
from genfuse.data.openmoji import openmoji

__all__ = [
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


def load(
    source: str | Path, size: int | None = None, progress: Callable[[int, int], None] | None = None
) -> ImageDataset:
    """The pictures of a source.

    Args:
        source: "openmoji", "digits", or a folder.
        size: height and width in pixels; None: 8 for digits, 32 for the others.
        progress: called with (pictures ready, pictures in all) where that takes time.

    Raises:
        ValueError: ``source`` is none of these, or see :func:`folder`.
        ModuleNotFoundError: the source's package is not installed.
    """
    if source == "openmoji":
        return openmoji(size or 32, progress)
    if source == "digits":
        return digits(size or 8)
    if not Path(source).is_dir():
        raise ValueError(f"data is {str(source)!r}, expected 'openmoji', 'digits', or a folder of pictures")
    return folder(Path(source), size or 32, progress)
