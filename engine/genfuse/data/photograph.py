"""One photograph, of any shape: scikit-learn's two, or a file of the user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genfuse.data.dataset import ImageDataset, check_size, to_unit_range
from genfuse.data.picture import read_picture

PHOTOGRAPHS = {
    "china": "Photograph 6061409035 by danielbuechele on Flickr, CC BY 2.0",
    "flower": "Photograph 6056698931 by vultilion on Flickr, CC BY 2.0",
}
"""scikit-learn's photographs, with what their licence asks to be said."""


def photograph(source: str | Path, size: int = 96) -> ImageDataset:
    """One picture, its shape kept.

    Args:
        source: "china", "flower", or a file.
        size: its longer side in pixels, at least 8.

    Returns:
        (1, 3, H, W) of one class; not to be mirrored.

    Raises:
        ValueError: the file cannot be read as a picture, or ``size`` is below 8.
        ModuleNotFoundError: scikit-learn is not installed, for one of its own.
    """
    check_size(size)
    images = packaged(str(source)) if source in PHOTOGRAPHS else pixels(Path(source))
    _, _, height, width = images.shape
    share = size / max(height, width)
    shape = [max(8, round(share * side)) for side in (height, width)]
    images = torch.nn.functional.interpolate(images, shape, mode="bicubic", antialias=True).clamp(-1, 1)
    name = str(source) if source in PHOTOGRAPHS else Path(source).stem
    may_flip = torch.zeros(1, dtype=torch.bool)
    attribution = PHOTOGRAPHS.get(str(source), "")
    return ImageDataset(name, images, torch.zeros(1, dtype=torch.int64), (name,), may_flip, attribution)


def pixels(file: Path) -> Tensor:
    """(1, 3, H, W) float32 in [-1, 1]. ValueError where the file cannot be read as a picture."""
    return to_unit_range(torch.from_numpy(np.asarray(read_picture(file)).copy())[None])


def packaged(name: str) -> Tensor:
    """scikit-learn's of that name: (1, 3, 427, 640). ModuleNotFoundError where it is not installed."""
    try:
        from sklearn.datasets import load_sample_image
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("scikit-learn is not installed: pip install 'genfuse[data]'") from error
    return to_unit_range(torch.from_numpy(load_sample_image(f"{name}.jpg").copy())[None])
