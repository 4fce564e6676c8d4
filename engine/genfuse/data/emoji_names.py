"""What Unicode calls an emoji."""

from __future__ import annotations

import unicodedata

_TONES = {
    0x1F3FB: "light skin tone",
    0x1F3FC: "medium light skin tone",
    0x1F3FD: "medium skin tone",
    0x1F3FE: "medium dark skin tone",
    0x1F3FF: "dark skin tone",
}
_VARIATION_SELECTOR = 0xFE0F


def name_of(points: list[int]) -> str | None:
    """In small letters, with a skin tone behind a comma; None for sequences, whose parts' names say nothing of them.

    Flags are such: "regional indicator symbol letter d, ... e".
    """
    base, *rest = [point for point in points if point != _VARIATION_SELECTOR]
    name = unicodedata.name(chr(base), None)
    if name is None or len(rest) > 1 or not all(point in _TONES for point in rest):
        return None
    return ", ".join([name.lower(), *(_TONES[point] for point in rest)])
