"""A step's samples: a function of (seed, step), so that a resumed run sees what an unbroken one saw."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from genfuse.data.dataset import Data, ImageDataset
from genfuse.data.mixtures import Mixture
from genfuse.data.texts import TextDataset
from genfuse.train.config import RunConfig


def step_generator(seed: int, step: int, device: str = "cpu") -> torch.Generator:
    """Everything random in step ``step`` of a run with this seed is drawn from this generator, in order.

    Seeds are mixed by a multiplicative hash (the 64-bit golden ratio), so that (0, 1) and (1, 0) differ.
    """
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 1) % 2**63
    return torch.Generator(device).manual_seed(mixed)


class Batches(Protocol):
    """Draws batches of the data."""

    def draw(self, generator: torch.Generator, label: int | None = None) -> tuple[Tensor, Tensor]:
        """(samples (B, ...) float32, or tokens (B, L) int64; labels (B,) int64), of one class where it is named."""


@runtime_checkable
class NumberedBatches(Batches, Protocol):
    """Draws batches of data that come again."""

    def draw_numbered(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(images (B, C, H, W) float32, none of them mirrored; their places (B,) int64 in the data set)."""


def batches_of(data: Data, config: RunConfig) -> Batches:
    """As the run's configuration has them."""
    if isinstance(data, Mixture):
        return PointBatches(data, config.batch_size)
    if isinstance(data, TextDataset):
        return TextBatches(data, config.batch_size)
    return ImageBatches(data, config.batch_size, config.class_balance, config.flip)


class PointBatches:
    """Draws batches of a mixture; it has one class.

    Args:
        mixture: where from.
        batch_size: points a batch.
    """

    def __init__(self, mixture: Mixture, batch_size: int) -> None:
        self.mixture, self.batch_size = mixture, batch_size

    def draw(self, generator: torch.Generator, label: int | None = None) -> tuple[Tensor, Tensor]:
        """(points (B, 2) float32, zeros (B,) int64)."""
        return self.mixture.draw(self.batch_size, generator), torch.zeros(self.batch_size, dtype=torch.int64)


class TextBatches:
    """Draws batches of lines with replacement, as many of each style.

    Args:
        dataset: where from.
        batch_size: lines a batch.
    """

    def __init__(self, dataset: TextDataset, batch_size: int) -> None:
        self.dataset = dataset
        styles = [(dataset.styles == style).nonzero()[:, 0] for style in torch.unique(dataset.styles)]
        self._places = [styles[number % len(styles)] for number in range(batch_size)]

    def draw(self, generator: torch.Generator, label: int | None = None) -> tuple[Tensor, Tensor]:
        """(tokens (B, L) int64, styles (B,) int64, in turn)."""
        uniform = torch.rand(len(self._places), generator=generator, dtype=torch.float64).tolist()
        pairs = zip(self._places, uniform, strict=True)
        chosen = torch.stack([places[int(share * len(places))] for places, share in pairs])
        return self.dataset.tokens[chosen], self.dataset.styles[chosen]


class ImageBatches:
    """Draws batches with replacement from a data set.

    Args:
        dataset: where from.
        batch_size: pictures a batch.
        class_balance: a picture's chance is (size of its class) ** -class_balance.
        flip: mirror half of those that may be mirrored.
    """

    def __init__(self, dataset: ImageDataset, batch_size: int, class_balance: float, flip: bool) -> None:
        counts = torch.bincount(dataset.labels, minlength=len(dataset.class_names)).double()
        self.dataset = dataset
        self.batch_size = batch_size
        self.flip = flip
        self.chances = counts[dataset.labels] ** -class_balance

    def draw(self, generator: torch.Generator, label: int | None = None) -> tuple[Tensor, Tensor]:
        """(images (B, C, H, W) float32, labels (B,) int64), of that class alone where one is named."""
        chosen = self._chosen(generator, label)
        images = self.dataset.images[chosen]
        if self.flip:
            mirrored = torch.rand(self.batch_size, generator=generator) < 0.5
            mirrored &= self.dataset.may_flip[chosen]
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images, self.dataset.labels[chosen]

    def draw_numbered(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """As :class:`NumberedBatches` has it."""
        chosen = self._chosen(generator)
        return self.dataset.images[chosen], chosen

    def _chosen(self, generator: torch.Generator, label: int | None = None) -> Tensor:
        chances = self.chances if label is None else self.chances * (self.dataset.labels == label)
        return torch.multinomial(chances, self.batch_size, replacement=True, generator=generator)
