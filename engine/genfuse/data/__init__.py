"""Pictures to learn from, alone, in pairs or in domains; one photograph; points of the plane; lines of text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from genfuse.data.dataset import Data, ImageDataset
from genfuse.data.digit_domains import NAMES as DIGIT_DOMAINS
from genfuse.data.digit_domains import digit_domains
from genfuse.data.digits import WITHOUT as DIGITS_WITHOUT
from genfuse.data.digits import digits, digits_without
from genfuse.data.faces import faces
from genfuse.data.folder import Skip, folder, paired_folder
from genfuse.data.grid import image_grid, save_grid
from genfuse.data.mixtures import MIXTURES, Mixture, mixture
from genfuse.data.openmoji import Progress, openmoji
from genfuse.data.openmoji_domains import openmoji_pairs, openmoji_tones, openmoji_unpaired
from genfuse.data.openmoji_names import openmoji_names
from genfuse.data.photograph import PHOTOGRAPHS, photograph
from genfuse.data.photographs import photographs
from genfuse.data.texts import TEXTS, TextDataset, texts
from genfuse.names import unknown_name

__all__ = [
    "MIXTURES",
    "PICTURES",
    "TEXTS",
    "Data",
    "ImageDataset",
    "Mixture",
    "TextDataset",
    "digit_domains",
    "digits",
    "digits_without",
    "faces",
    "folder",
    "image_grid",
    "load",
    "mixture",
    "openmoji",
    "openmoji_names",
    "openmoji_pairs",
    "openmoji_tones",
    "openmoji_unpaired",
    "paired_folder",
    "photograph",
    "photographs",
    "save_grid",
    "texts",
]


PICTURES: dict[str, Callable[[int | None, Progress], ImageDataset]] = {
    "openmoji": lambda size, progress: openmoji(size or 32, progress),
    "openmoji-pairs": lambda size, progress: openmoji_pairs(size or 32, progress),
    "openmoji-unpaired": lambda size, progress: openmoji_unpaired(size or 32, progress),
    "openmoji-tones": lambda size, progress: openmoji_tones(size or 32, progress),
    "openmoji-names": lambda size, progress: openmoji_names(size or 32, progress),
    "photographs": lambda size, progress: photographs(size or 32),
    "faces": lambda size, progress: faces(size or 32),
    "digits": lambda size, progress: digits(size or 8),
    **{
        name: lambda size, progress, name=name: photograph(name, size or 96)  # type: ignore[misc]
        for name in PHOTOGRAPHS
    },
    **{
        name: lambda size, progress, name=name: digit_domains(name, size or 8)  # type: ignore[misc]
        for name in DIGIT_DOMAINS
    },
    **{
        name: lambda size, progress, name=name: digits_without(name, size or 8)  # type: ignore[misc]
        for name in DIGITS_WITHOUT
    },
}
"""The packaged pictures by name, each with its own size where none is given."""


def load(
    source: str | Path,
    size: int | None = None,
    progress: Progress = None,
    *,
    views: int = 1,
    skip: Skip | None = None,
) -> Data:
    """What a source has: pictures, points of the plane, or lines of text.

    Args:
        source: "openmoji", "digits" or another of `PICTURES`, a folder, one picture's file (:func:`photograph`), a
            mixture's name (:func:`mixture`), or that of texts (:func:`texts`).
        size: height and width in pixels, or a photograph's longer side; None: 8 for digits, 96 for a photograph, 32
            for the others. Points and texts have none.
        progress: called with (pictures ready, pictures in all) where that takes time.
        views: 2 reads a folder as pairs (:func:`paired_folder`); packaged pictures are what they are.
        skip: as of :func:`folder`.

    Raises:
        ValueError: ``source`` is none of these, or see :func:`folder` and :func:`photograph`.
        ModuleNotFoundError: the source's package is not installed.
    """
    if source in (*MIXTURES, *TEXTS):
        if size is not None:
            raise ValueError(f"size is {size}, expected none: {source} has no pictures")
        return mixture(str(source)) if source in MIXTURES else texts(str(source))
    if source in PICTURES:
        return PICTURES[str(source)](size, progress)
    if Path(source).is_file():
        return photograph(source, size or 96)
    if Path(source).is_dir():
        if views == 2:
            return paired_folder(Path(source), size or 32, skip)
        return folder(Path(source), size or 32, progress, skip)
    known = ("a folder of pictures", "a picture's file", *PICTURES, *MIXTURES, *TEXTS)
    raise ValueError(unknown_name("data", str(source), known))
