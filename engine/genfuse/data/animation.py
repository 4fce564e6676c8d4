"""Pictures one after another, as a GIF."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from genfuse.data.atomic import atomic_path
from genfuse.data.grid import image_grid

MILLISECONDS = 80
"""Of each frame."""


def save_animation(images: Tensor, path: Path, scale: int = 1) -> None:
    """Write images (N, 1 or 3, H, W) in [-1, 1], N > 0, as an endless GIF; the file appears whole or not at all.

    ``scale``: each pixel becomes scale x scale pixels. ValueError as :func:`genfuse.data.grid.image_grid`.
    """
    from PIL import Image

    if len(images) == 0:
        raise ValueError(f"images must have shape (N, 1 or 3, H, W) with N > 0, got {tuple(images.shape)}")
    first, *others = [
        Image.fromarray(image_grid(one, 1, scale, gap=0).numpy()) for one in torch.split(images, 1)
    ]
    with atomic_path(path) as temporary:
        first.save(
            temporary, format="GIF", save_all=True, append_images=others, duration=MILLISECONDS, loop=0
        )
