"""What systems share whose samples are made of latents: drawn by seed, shown, sampled, walked through."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from genfuse.ops import check, philox_normal
from genfuse.systems import walks
from genfuse.train import Step, System
from genfuse.train.pictures import Pictures

_POINTS_SHOWN = 4096


@dataclass(frozen=True)
class LatentConfig:
    """Attributes:
    latents: width of the noise.
    """

    latents: int = 64

    def __post_init__(self) -> None:
        check.count("latents", self.latents)


ConfigT = TypeVar("ConfigT", bound=LatentConfig)


class Latent(System[ConfigT]):
    """Samples are what :meth:`made` makes of standard normal latents."""

    def latents(self, now: Step, count: int) -> Tensor:
        """(count, latents) standard normal, drawn from a training step."""
        return now.normal(count, self.config.latents)

    def made(self, averaged: nn.Module, latents: Tensor, labels: Tensor) -> Tensor:
        """The samples of latents (N, latents) and labels (N,), which not every system looks at."""
        samples: Tensor = averaged(latents)
        return samples

    def preview(self, averaged: nn.Module) -> Tensor:
        """Eight of each of the first eight classes, of seeds 0 and on; of points some thousands."""
        count = 64 if len(self.image_shape) == 3 else _POINTS_SHOWN
        return self.made(averaged.eval(), self._seeded(0, count), self._labels(count, None))

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        batch: int = 64,
        device: str | torch.device = "cpu",
        progress: bool = False,
        label: str | None = None,
        interpolate: bool = False,
        arithmetic: bool = False,
    ) -> Pictures:
        """``count`` samples; number i is what the generator makes of the latents of seed ``seed + i``.

        Args:
            count, seed, batch, device, progress: as :meth:`genfuse.train.System.sample`.
            label: class of all; the classes in turn where left out.
            interpolate: rows of ten pictures instead, from one sample's latents to the next one's.
            arithmetic: rows of three pictures and what the generator makes of a − b + c of their latents.
        """
        parts, columns = self._walk(count, seed, label, interpolate, arithmetic)
        return self._made_of(parts, columns, seed, batch, device)

    def _walk(
        self, count: int, seed: int, label: str | None, interpolate: bool, arithmetic: bool
    ) -> tuple[tuple[Tensor, ...], int | None]:
        """Latents and labels, and how many of them are a row where they are a walk."""
        latents, labels = self._seeded(seed, count), self._labels(count, label)
        if interpolate and arithmetic:
            raise ValueError("interpolate and arithmetic are both asked for, expected one of them")
        if not interpolate and not arithmetic:
            return (latents, labels), None
        latents, labels, columns = (walks.interpolation if interpolate else walks.arithmetic)(latents, labels)
        return (latents, labels), columns

    def _made_of(
        self,
        parts: tuple[Tensor, ...],
        columns: int | None,
        seed: int,
        batch: int,
        device: str | torch.device,
        **options: Any,
    ) -> Pictures:
        """What :meth:`made`, with options of its own, makes of ``parts``, (N, ...) each, ``batch`` at a time."""
        place = check.device("device", device)
        averaged = self.averaged.to(place).eval()
        began = time.perf_counter()
        batches = zip(*(torch.split(part, batch) for part in parts), strict=True)
        made = [self.made(averaged, *(part.to(place) for part in each), **options).cpu() for each in batches]
        return Pictures(torch.cat(made), time.perf_counter() - began, f"{self.name}, seed {seed}", columns)

    def _seeded(self, seed: int, count: int) -> Tensor:
        seeds = torch.arange(seed, seed + count, dtype=torch.int64)
        return philox_normal(seeds, (count, self.config.latents))

    def _labels(self, count: int, label: str | None) -> Tensor:
        if label is not None:
            return torch.full((count,), self.label(label))
        return torch.arange(count) % len(self.class_names)
