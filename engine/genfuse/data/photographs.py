"""scikit-learn's two photographs, a temple and a flower, in crops: two domains of a style each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.data.dataset import ImageDataset, check_size
from genfuse.data.photograph import packaged

DOMAINS = {"temple": "china", "flower": "flower"}
CROP, STRIDE = 96, 16
"""Sides of a crop and from one to the next, of photographs of 427 x 640 pixels."""
HELD_OUT_FROM = 480
"""The column that crops which are held out begin behind, and the others end before."""
ATTRIBUTION = "Photographs by danielbuechele and vultilion (CC BY 2.0), of the package scikit-learn"


def photographs(size: int = 32) -> ImageDataset:
    """Crops of 96 x 96 pixels, scaled to ``size``, of two photographs, which are the classes "temple" and "flower".

    What lies in the photographs' last quarter is held out.

    Raises:
        ValueError: ``size`` is below 8.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    check_size(size)
    whole = torch.cat([packaged(name) for name in DOMAINS.values()])
    parts = [
        _crops(whole[:, :, :, columns], size)
        for columns in (slice(HELD_OUT_FROM), slice(HELD_OUT_FROM, None))
    ]
    return _dataset(parts[0], held_out=_dataset(parts[1], None))


def _crops(images: Tensor, size: int) -> Tensor:
    """(2, 3, H, W) → all crops (2, M, 3, size, size)."""
    crops = images.unfold(2, CROP, STRIDE).unfold(3, CROP, STRIDE).flatten(2, 3).transpose(1, 2)
    scaled = F.interpolate(crops.flatten(0, 1), size=(size, size), mode="bilinear", antialias=True)
    return torch.unflatten(scaled.clamp(-1, 1), 0, crops.shape[:2])


def _dataset(crops: Tensor, held_out: ImageDataset | None) -> ImageDataset:
    labels = torch.arange(2).repeat_interleave(crops.shape[1])
    may_flip = torch.ones(len(labels), dtype=torch.bool)
    images = crops.flatten(0, 1).contiguous()
    return ImageDataset(
        "photographs", images, labels, tuple(DOMAINS), may_flip, ATTRIBUTION, held_out=held_out
    )
