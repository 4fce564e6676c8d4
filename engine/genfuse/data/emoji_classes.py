"""Which class an emoji belongs to, by its first code point.

The package of OpenMoji says nothing of groups, so classes are made here from the Unicode blocks. The first
class that lists a code point wins. Code points that none lists are left out; so are the private use areas
(OpenMoji's extras: brands and interface icons).
"""

from __future__ import annotations

CLASSES: dict[str, str] = {
    "flags": "1F1E6-1F1FF 1F38C 1F3F3-1F3F4 1F6A9 2690-2691",
    "clocks": "1F550-1F567 231A-231B 23F0-23F3 1F570",
    "hearts": "1F48C 1F493-1F49F 2763-2764 1F5A4 1F90D-1F90E 1F9E1 1FA75-1FA77 2661 2665",
    "faces": "1F600-1F644 1F910-1F917 1F920-1F925 1F927-1F92F 1F970-1F976 1F978-1F97A 1F9D0 1FAE0-1FAE9 "
    "2639-263B 1F479-1F47B 1F47D-1F480 1F31A-1F31E 1F383",
    "hands": "1F446-1F450 1F58E-1F5A3 270A-270D 261A-261F 1F90C 1F90F 1F918-1F91F 1FAF0-1FAFF 1F932 1F64C "
    "1F64F 1F485 1F4AA",
    "people": "1F464-1F478 1F47C 1F481-1F483 1F486-1F487 1F385 1F3C2-1F3C4 1F3C7 1F3CA-1F3CC 1F574-1F575 "
    "1F57A 1F645-1F647 1F64B 1F64D-1F64E 1F6A3 1F6B4-1F6B6 1F926 1F930-1F931 1F933-1F93E 1F977 1F9B8-1F9B9 "
    "1F9CC-1F9CF 1F9D1-1F9DF 1FAC3-1FAC5 26F7-26F9",
    "animals": "1F400-1F43F 1F980-1F9AE 1FAB0-1FAB3 1FAB6 1FABC-1FABF 1FACD-1FACF 1F577-1F578 1F54A",
    "nature": "1F300-1F30C 1F311-1F319 1F31F-1F32C 1F331-1F335 1F337-1F344 2600-2604 26C4-26C8 2744 "
    "1FAB4-1FAB5 1FAB7-1FABB 1F490 1F940 1F525 1F4A7 1FA90 2B50 1F30D-1F310 26A1 1FAA8",
    "food": "1F32D-1F330 1F336 1F345-1F37F 1F382 1F942-1F944 1F950-1F96F 1F9C0-1F9CB 1FAD0-1FADF 2615",
    "vehicles": "1F680-1F6A2 1F6A4-1F6A8 1F6B2 1F6E5 1F6E9-1F6FC 2708 26F5 1F3CD-1F3CE 1F6DE-1F6DF "
    "1F9BC-1F9BD",
    "places": "1F3D4-1F3F0 1F5FB-1F5FF 26E9-26EA 26F0-26F4 26FA 1F6D5-1F6D7 1F54B-1F54D 1F3A0-1F3A2",
    "shapes": "25A0-25FF 2B1B-2B2F 1F7E0-1F7EB 1F532-1F53D 1F518 26AA-26AB 1F4A0 2B53-2B5F",
    "symbols": "20-2BFF 3030-32FF 1F100-1F265 1F4B2-1F4B3 1F500-1F50A 1F51E-1F524 1F52F-1F531 1F6AB-1F6BE "
    "1F6C2-1F6C5 1F6D0-1F6D1",
    "objects": "1F000-1F0FF 1F300-1FAFF",
}

# Writing, flags, clock hands and pointing fingers are wrong when mirrored; the rest may face either way.
NOT_MIRRORED = frozenset({"flags", "clocks", "symbols", "hands"})


def _ranges(text: str) -> list[range]:
    """ "2690-2691 26AA" → [range(0x2690, 0x2692), range(0x26AA, 0x26AB)]."""
    bounds = [[int(point, 16) for point in part.split("-")] for part in text.split()]
    return [range(low[0], low[-1] + 1) for low in bounds]


_RANGES = [_ranges(text) for text in CLASSES.values()]


def class_of(code_point: int) -> int | None:
    """Index into ``CLASSES`` of the emoji that begins with this code point; None for those left out."""
    for index, ranges in enumerate(_RANGES):
        if any(code_point in points for points in ranges):
            return index
    return None
