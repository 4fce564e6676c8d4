"""What faces and their landmarks are drawn on: four times as large as the picture, then averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from genfuse.data.dataset import to_unit_range

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]
_FINER = 4


def canvas(size: int, colour: Colour) -> tuple[Image, ImageDraw, int]:
    """A sheet of that colour, what draws on it, and how many of its pixels are the picture's side."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (_FINER * size, _FINER * size), colour)
    return image, ImageDraw.Draw(image), _FINER * size


def pictures(drawn: Sequence[Image], size: int) -> Tensor:
    """(N, 3, size, size) in [-1, 1]."""
    from PIL import Image

    pixels = [np.asarray(image.resize((size, size), Image.Resampling.BOX)) for image in drawn]
    return to_unit_range(torch.from_numpy(np.stack(pixels)))
