"""Pictures as files of their own, named by their numbers."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor


def save_numbered(images: Tensor, folder: Path, first: int = 0) -> None:
    """Write ``folder/00000000.png`` and on, whole or not at all each; the folder is there.

    Args:
        images: (N, C, H, W) floating in [-1, 1] (values outside are clamped); C is 1 or 3.
        folder: where to.
        first: number of the first.

    ValueError for images of another shape.
    """
    from PIL import Image

    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must have shape (N, 1 or 3, H, W), got {tuple(images.shape)}")
    pixels = (images.detach().float().clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    for number, picture in enumerate(pixels.permute(0, 2, 3, 1).numpy(), first):
        unfinished, path = folder / f".{number:08d}.tmp", folder / f"{number:08d}.png"
        Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(unfinished, format="PNG")
        unfinished.replace(path)
