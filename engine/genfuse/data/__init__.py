"""Pictures to learn from: OpenMoji, scikit-learn's digits and photographs, one's own; points of the plane."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from genfuse.data.dataset import Data, ImageDataset
from genfuse.data.digits import digits
from genfuse.data.folder import folder
from genfuse.data.grid import image_grid, save_grid
from genfuse.data.mixtures import MIXTURES, Mixture, mixture
from genfuse.data.openmoji import openmoji, openmoji_names
from genfuse.data.photograph import PHOTOGRAPHS, photograph
from genfuse.data.texts import TEXTS, TextDataset, texts
from genfuse.names import unknown_name

__all__ = [
    "MIXTURES",
    "TEXTS",
    "Data",
    "ImageDataset",
    "Mixture",
    "TextDataset",
    "digits",
    "folder",
    "image_grid",
    "load",
    "mixture",
    "openmoji",
    "openmoji_names",
    "photograph",
    "save_grid",
    "texts",
]


PICTURES = ("openmoji", "openmoji-names", "digits", *PHOTOGRAPHS)


def load(
    source: str | Path, size: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Data:
    """What a source has: pictures, points of the plane, or lines of text.

    Args:
        source: "openmoji", "openmoji-names", "digits", a folder, one picture's file or name (:func:`photograph`), a
            mixture's name (:func:`mixture`), or that of texts (:func:`texts`).
        size: height and width in pixels, or a photograph's longer side; None: 8 for digits, 96 for a photograph, 32
            for the others. Points and texts have none.
        progress: called with (pictures ready, pictures in all) where that takes time.

    Raises:
        ValueError: ``source`` is none of these, or see :func:`folder` and :func:`photograph`.
        ModuleNotFoundError: the source's package is not installed.
    """
    if source in (*MIXTURES, *TEXTS):
        if size is not None:
            raise ValueError(f"size is {size}, expected none: {source} has no pictures")
        return mixture(str(source)) if source in MIXTURES else texts(str(source))
    if source in PICTURES or Path(source).exists():
        return pictures(source, size, progress)
    raise ValueError(
        unknown_name(
            "data", str(source), ("a folder of pictures", "a picture's file", *PICTURES, *MIXTURES, *TEXTS)
        )
    )


def pictures(
    source: str | Path, size: int | None = None, progress: Callable[[int, int], None] | None = None
) -> ImageDataset:
    """The pictures of a source, as :func:`load`."""
    if source == "openmoji":
        return openmoji(size or 32, progress)
    if source == "openmoji-names":
        return openmoji_names(size or 32, progress)
    if source == "digits":
        return digits(size or 8)
    if source in PHOTOGRAPHS or Path(source).is_file():
        return photograph(source, size or 96)
    return folder(Path(source), size or 32, progress)
