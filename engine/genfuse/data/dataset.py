"""What every source of pictures returns."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genfuse.data.mixtures import Mixture
from genfuse.data.texts import TextDataset


@dataclass(frozen=True)
class ImageDataset:
    """Pictures held in memory, with a class each.

    Attributes:
        name: the source ("openmoji", "digits", or the folder's name).
        images: (N, C, H, W) float32 in [-1, 1].
        labels: (N,) int64 in [0, len(class_names)).
        class_names: one a class; a single one where the source has no classes.
        may_flip: (N,) bool: whether a picture may be mirrored left to right without becoming wrong.
        attribution: what the pictures' licence asks to be said wherever they, or what is made of them, go.
    """

    name: str
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    may_flip: Tensor
    attribution: str = ""

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, c, h, w = self.images.shape
        return c, h, w

    def digest(self) -> str:
        """Sixteen hexadecimal digits that differ where pictures, labels or their order do."""
        read = hashlib.blake2b(digest_size=8)
        for tensor in (self.images, self.labels, self.may_flip):
            read.update(tensor.contiguous().numpy().data)
        return read.hexdigest()

    def described(self) -> dict[str, Any]:
        """What a run records of its data, as JSON."""
        return {
            "name": self.name,
            "pictures": len(self),
            "digest": self.digest(),
            "attribution": self.attribution,
        }


Data = ImageDataset | Mixture | TextDataset
"""What a system is trained on."""


def to_unit_range(pixels: Tensor) -> Tensor:
    """(N, H, W, C) uint8 → (N, C, H, W) float32 in [-1, 1], contiguous."""
    return (pixels.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0).contiguous()
