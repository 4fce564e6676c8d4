"""Landmarks of a face: where they are with an expression, as lines that a network reads, and as a track in a file.

A face has 24 points (x to the right, y down, the picture is [0, 1]²), part after part as in `PARTS`.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

PARTS = {"head": 4, "left eye": 4, "right eye": 4, "left brow": 2, "right brow": 2, "mouth": 8}
"""Points of each part: left, crown, right and chin of the head; around an eye and the mouth from the left corner."""
POINTS = sum(PARTS.values())
EXPRESSION = ("right", "down", "tilt", "eyes open", "brows up", "mouth open", "smile")
"""Numbers in [-1, 1] that an expression is made of."""
_COLOURS = ((200, 200, 200), (80, 160, 255), (80, 160, 255), (120, 220, 120), (120, 220, 120), (255, 80, 80))


def landmarks(expressions: Tensor) -> Tensor:
    """Expressions (N, 7) in [-1, 1], see `EXPRESSION` → points (N, 24, 2) float64."""
    right, down, tilt, eyes, brows, opened, smile = expressions.double().clamp(-1, 1).unbind(1)
    nought = torch.zeros_like(right)
    lid, lip = 0.045 + 0.035 * eyes, 0.06 + 0.05 * opened
    corner = 0.24 - 0.05 * smile
    columns = [(-0.36, nought), (0.0, nought - 0.36), (0.36, nought), (0.0, nought + 0.36)]
    for side in (-0.15, 0.15):
        columns += [(side - 0.07, nought - 0.06), (side, -0.06 - lid), (side + 0.07, nought - 0.06)]
        columns += [(side, -0.06 + lid)]
    for side in (-0.15, 0.15):
        columns += [(side - 0.08, -0.18 - 0.04 * brows), (side + 0.08, -0.18 - 0.04 * brows)]
    middle = 0.19 + 0.04 * smile
    upper, lower = middle - lip / 2, middle + lip / 2
    columns += [(-0.16, corner), (-0.08, (upper * 2 + corner) / 3), (0.0, upper)]
    columns += [(0.08, (upper * 2 + corner) / 3), (0.16, corner)]
    columns += [(0.08, (lower * 2 + corner) / 3), (0.0, lower), (-0.08, (lower * 2 + corner) / 3)]
    x = torch.stack([nought + at for at, _ in columns], 1)
    y = torch.stack([at for _, at in columns], 1)
    angle = (0.25 * tilt)[:, None]
    turned = x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()
    return torch.stack((turned[0] + 0.5 + 0.08 * right[:, None], turned[1] + 0.5 + 0.06 * down[:, None]), 2)


def speaking(frames: int) -> Tensor:
    """A track (frames, 24, 2): a head that nods, looks around, blinks and speaks, and returns to where it began."""
    turn = 2 * math.pi * torch.arange(frames, dtype=torch.float64) / frames
    each = (
        0.8 * turn.sin(),
        0.5 * (2 * turn).sin(),
        0.6 * (turn + 1).sin(),
        1 - 1.8 * torch.exp(-8 * (1 - (turn - 2).cos())),
        (turn - 1).sin(),
        (3 * turn).sin(),
        turn.cos(),
    )
    return landmarks(torch.stack(each, 1))


def read_track(path: Path) -> Tensor:
    """A track (frames, 24, 2) of a file: a frame a line, 48 numbers x y x y ... in [0, 1], commas or blanks between.

    ValueError, naming the line, for anything else; OSError where it cannot be read.
    """
    frames = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = [float(word) for word in line.replace(",", " ").split()]
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}; expected {2 * POINTS} numbers") from error
        if len(values) != 2 * POINTS or not all(0 <= value <= 1 for value in values):
            raise ValueError(
                f"{path}, line {number} has {len(values)} numbers, expected {2 * POINTS} in [0, 1], x y of each point"
            )
        frames.append(values)
    if not frames:
        raise ValueError(f"{path} has no line, expected one a frame of {2 * POINTS} numbers")
    return torch.unflatten(torch.tensor(frames, dtype=torch.float64), 1, (POINTS, 2))


def sketched(points: Tensor, size: int) -> Tensor:
    """Landmarks (N, 24, 2) as coloured lines on black, a colour a kind of part: (N, 3, size, size) in [-1, 1].

    As Zakharov et al. 2019 (arXiv:1905.08233, section 3.1) show them to their networks.
    """
    from genfuse.data.canvas import canvas, pictures

    made = []
    for face in points.tolist():
        image, pen, scale = canvas(size, (0, 0, 0))
        at = 0
        for (name, count), colour in zip(PARTS.items(), _COLOURS, strict=True):
            line = [(x * scale, y * scale) for x, y in face[at : at + count]]
            pen.line(line if name.endswith("brow") else [*line, line[0]], fill=colour, width=scale // 32)
            at += count
        made.append(image)
    return pictures(made, size)
