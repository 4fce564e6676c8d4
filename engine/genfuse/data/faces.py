"""Faces in the manner of emoji, drawn from parts, so that each one's landmarks are known exactly.

They are not OpenMoji's drawings: those show a face once, and a talking head is learnt from the same face in motion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from genfuse.data.canvas import Colour, canvas, pictures
from genfuse.data.dataset import ImageDataset, check_size
from genfuse.data.landmarks import EXPRESSION, landmarks, sketched

if TYPE_CHECKING:
    from PIL.Image import Image

KNOWN, NEW, FRAMES = 108, 12, 12
"""How many faces are trained on, how many are held out, and with how many expressions each."""
_SKINS: tuple[Colour, ...] = (
    (252, 234, 43),
    (250, 220, 188),
    (224, 187, 149),
    (191, 143, 104),
    (155, 100, 61),
)
_HAIRS: tuple[Colour, ...] = ((60, 40, 30), (165, 87, 60), (250, 190, 70), (150, 150, 150), (90, 60, 160))
_BACKS: tuple[Colour, ...] = ((255, 255, 255), (177, 204, 51), (146, 211, 245), (255, 167, 192))
_LINE = (0, 0, 0)


@dataclass(frozen=True)
class Face:
    """What of a face stays while it moves: colours, hair (none, short, long, a bun), brows, glasses."""

    skin: Colour
    hair: Colour
    back: Colour
    style: int
    thick_brows: bool
    glasses: bool


def face(identity: int) -> Face:
    """The face of that number, 0 and on."""
    drawn = torch.Generator().manual_seed(identity)
    skin, hair, back, style, brows, glasses = torch.randint(60, (6,), generator=drawn).tolist()
    return Face(
        _SKINS[skin % 5], _HAIRS[hair % 5], _BACKS[back % 4], style % 4, brows % 2 == 0, glasses % 3 == 0
    )


def draw(who: Face, points: Tensor, size: int) -> Tensor:
    """That face with landmarks (N, 24, 2) of :mod:`genfuse.data.landmarks`: (N, 3, size, size) in [-1, 1]."""
    return pictures([_drawn(who, each, size) for each in points.tolist()], size)


def faces(size: int = 32) -> ImageDataset:
    """Pairs of landmarks, as lines, and behind them on the channels the face: (N, 6, size, size).

    108 faces, which are the classes, with 12 expressions each; 12 others are held out. ValueError for a size below 8.
    """
    check_size(size)
    return replace(_of(range(KNOWN), size), held_out=new_faces(size))


def new_faces(size: int) -> ImageDataset:
    """The twelve alone, whose classes are 0 to 11."""
    return _of(range(KNOWN, KNOWN + NEW), size)


def _of(numbers: range, size: int) -> ImageDataset:
    drawn = torch.Generator().manual_seed(numbers.start)
    each = len(numbers), FRAMES, len(EXPRESSION)
    points = landmarks(torch.rand(each, generator=drawn, dtype=torch.float64).flatten(0, 1) * 2 - 1)
    labels = torch.arange(len(numbers)).repeat_interleave(FRAMES)
    shown = torch.cat([draw(face(who), points[labels == place], size) for place, who in enumerate(numbers)])
    images = torch.cat((sketched(points, size), shown), 1)
    names = tuple(f"face {who}" for who in numbers)
    return ImageDataset("faces", images, labels, names, torch.zeros(len(labels), dtype=torch.bool), views=2)


def _drawn(who: Face, points: list[list[float]], size: int) -> Image:
    image, pen, scale = canvas(size, who.back)
    p = [(x * scale, y * scale) for x, y in points]
    left, crown, right, chin = p[:4]
    centre = (left[0] + right[0]) / 2, (left[1] + right[1]) / 2
    across = (right[0] - left[0]) / 2, (right[1] - left[1]) / 2
    along = (chin[0] - crown[0]) / 2, (chin[1] - crown[1]) / 2
    width = max(1, scale // 48)

    def ellipse(x: float, y: float, a: float, b: float) -> list[tuple[float, float]]:
        """Around (x, y) of the head's own axes."""
        turns = torch.arange(48) * (2 * torch.pi / 48)
        each = zip((x + a * turns.cos()).tolist(), (y + b * turns.sin()).tolist(), strict=True)
        return [
            (centre[0] + u * across[0] + v * along[0], centre[1] + u * across[1] + v * along[1])
            for u, v in each
        ]

    if who.style >= 2:
        behind = ellipse(0, 0.15, 1.15, 1.15) if who.style == 2 else ellipse(0, -1.1, 0.4, 0.35)
        pen.polygon(behind, who.hair, _LINE, width)
    pen.polygon(ellipse(0, 0, 1, 1), who.skin, _LINE, width)
    if who.style >= 1:
        pen.polygon(ellipse(0, -0.78, 0.72, 0.28), who.hair, _LINE, width)
    for at in (4, 8):
        pen.polygon(p[at : at + 4], (255, 255, 255), _LINE, width)
        x, y = (sum(axis) / 4 for axis in zip(*p[at : at + 4], strict=True))
        radius = min(0.03 * scale, abs(p[at + 3][1] - p[at + 1][1]) / 2)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), _LINE)
        if who.glasses:
            ring = 0.1 * scale
            pen.ellipse((x - ring, y - ring, x + ring, y + ring), None, _LINE, width)
    for at in (12, 14):
        pen.line(p[at : at + 2], who.hair if who.style else _LINE, width * (3 if who.thick_brows else 1))
    pen.polygon(p[16:], (234, 90, 71), _LINE, width)
    return image
