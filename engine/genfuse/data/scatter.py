"""Points of the plane as a picture."""

from __future__ import annotations

import torch
from torch import Tensor


def scatter(points: Tensor, extent: float = 2.5, size: int = 192) -> Tensor:
    """How many points lie where, dark on white: (N, 2) floating → (1, 1, size, size) float32 in [-1, 1].

    The picture is of [-extent, extent]², the second axis upwards; a pixel's ink grows with the root of its count, and
    what lies outside is not seen. ValueError for other shapes.
    """
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points has shape {tuple(points.shape)}, expected (N, 2)")
    places = ((points.detach().float() / extent + 1) / 2 * size).floor()
    inside = ((places >= 0) & (places < size)).all(1)
    columns, rows = places[inside].long().unbind(1)
    counts = torch.bincount((size - 1 - rows) * size + columns, minlength=size * size).float()
    ink = (counts / counts.max().clamp(min=1)).sqrt()
    return (1 - 2 * ink).reshape(1, 1, size, size)
