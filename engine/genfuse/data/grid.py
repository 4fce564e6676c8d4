"""Pictures in a grid, as a PNG."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from genfuse.data.atomic import atomic_path

LARGEST_GRID = 2**27
"""Pixels of a grid: beyond any that is looked at, and still no burden to hold."""


def grid_shape(
    count: int, height: int, width: int, columns: int | None = None, gap: int = 2
) -> tuple[int, int]:
    """(rows, columns) of pixels that `count` pictures of a size take; ValueError beyond `LARGEST_GRID`."""
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    shape = rows * (height + gap) + gap, columns * (width + gap) + gap
    if math.prod(shape) > LARGEST_GRID:
        raise ValueError(
            f"the grid of {count} pictures of {height} x {width} pixels would have {math.prod(shape)} pixels, "
            f"expected at most {LARGEST_GRID}; take a smaller scale or count"
        )
    return shape


def image_grid(images: Tensor, columns: int | None = None, scale: int = 1, gap: int = 2) -> Tensor:
    """Pictures side by side on white, in reading order.

    Args:
        images: (N, C, H, W) floating in [-1, 1] (values outside are clamped); C is 1 or 3.
        columns: pictures a row; by default the grid is as square as N allows.
        scale: each pixel becomes scale x scale pixels.
        gap: white pixels between pictures, in pixels of the result.

    Returns:
        (rows, columns, 3) uint8.

    Raises:
        ValueError: images have another shape, or none is given, or the grid is beyond `LARGEST_GRID`.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise ValueError(f"images must have shape (N, 1 or 3, H, W) with N > 0, got {tuple(images.shape)}")
    columns = columns or math.ceil(math.sqrt(len(images)))
    n, _, h, w = images.shape
    h, w = h * scale, w * scale
    shape = grid_shape(n, h, w, columns, gap)
    pixels = (images.detach().float().clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    pixels = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    pixels = pixels.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    grid = torch.full((*shape, 3), 255, dtype=torch.uint8)
    for index in range(n):
        top, left = (index // columns) * (h + gap) + gap, (index % columns) * (w + gap) + gap
        grid[top : top + h, left : left + w] = pixels[index]
    return grid


def save_grid(images: Tensor, path: Path, columns: int | None = None, scale: int = 1) -> None:
    """Write :func:`image_grid` of ``images`` to ``path`` as a PNG; the file appears whole or not at all."""
    save_pixels(image_grid(images, columns, scale), path)


def save_pixels(grid: Tensor, path: Path) -> None:
    """Write (rows, columns, 3) uint8 as a PNG; the file appears whole or not at all."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(grid.numpy()).save(temporary, format="PNG", optimize=True)
