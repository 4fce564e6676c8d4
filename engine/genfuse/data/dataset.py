"""What every source of pictures returns."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
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
        views: pictures of the same thing that a sample has, one behind the other on the channels: 2 in pairs.
        held_out: samples that are not trained on, to show and to measure with.
    """

    name: str
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    may_flip: Tensor
    attribution: str = ""
    views: int = 1
    held_out: ImageDataset | None = None

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, c, h, w = self.images.shape
        return c, h, w

    @property
    def by_view(self) -> Tensor:
        """(N, views, C, H, W)."""
        return torch.unflatten(self.images, 1, (self.views, -1))

    def view(self, number: int) -> ImageDataset:
        """Of each sample the picture of that number alone."""
        images = self.by_view[:, number].contiguous()
        held_out = None if self.held_out is None else self.held_out.view(number)
        return replace(self, images=images, views=1, held_out=held_out)

    def split(self, held_out: Tensor) -> ImageDataset:
        """Without the samples that ``held_out``, (N,) bool, picks, which become its own."""
        return replace(self._only(~held_out), held_out=self._only(held_out))

    def laid_out(self, name: str, domains: tuple[str, ...]) -> ImageDataset:
        """Each view a picture of its own, N·views of them, and its class the domain that is the view's."""
        images, domain = self.by_view.flatten(0, 1), torch.arange(self.views)
        may_flip = self.may_flip.repeat_interleave(self.views)
        labels = domain.repeat(len(self))
        one = replace(self, name=name, images=images, may_flip=may_flip, views=1)
        return replace(one, labels=labels, class_names=domains)

    def apart(self, name: str, domains: tuple[str, ...]) -> ImageDataset:
        """One view of each sample, in turn, so that no two pictures are of one thing; its class is the domain."""
        domain = torch.arange(len(self)) % self.views
        images = self.by_view[torch.arange(len(self)), domain]
        return replace(self, name=name, images=images, labels=domain, class_names=domains, views=1)

    def _only(self, chosen: Tensor) -> ImageDataset:
        return replace(
            self, images=self.images[chosen], labels=self.labels[chosen], may_flip=self.may_flip[chosen]
        )

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


def check_size(size: int) -> None:
    """ValueError for pictures too small for any network here."""
    if size < 8:
        raise ValueError(f"size is {size}, expected at least 8 pixels")


Data = ImageDataset | Mixture | TextDataset
"""What a system is trained on."""


def to_unit_range(pixels: Tensor) -> Tensor:
    """(N, H, W, C) uint8 → (N, C, H, W) float32 in [-1, 1], contiguous."""
    return (pixels.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0).contiguous()
