"""Points of the plane that a generator is tried on, as in WGAN-GP's code: which modes it found can be counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from genfuse.names import check_name


@dataclass(frozen=True)
class Mixture:
    """A distribution in the plane, of modes around known centres; of a curve, centres are spread along it.

    Attributes:
        centres: (M, 2) float32.
        deviation: of a point from its place, along each axis.
        place: (N,) numbers in [0, 1) to N places (N, 2): uniform numbers give the distribution without its noise.
        name: as :func:`mixture` knows it.
    """

    centres: Tensor
    deviation: float
    place: Callable[[Tensor], Tensor]
    name: str = ""
    views: ClassVar[int] = 1

    @property
    def image_shape(self) -> tuple[int]:
        """(2,): the shape of a sample, in the place of a picture's."""
        return (2,)

    @property
    def class_names(self) -> tuple[str]:
        """One class, of all points."""
        return ("points",)

    def described(self) -> dict[str, Any]:
        """What a run records of its data, as JSON."""
        return {"name": self.name, "centres": len(self.centres), "deviation": self.deviation}

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, 2) float32 points; all that is random is drawn from ``generator``."""
        places = self.place(torch.rand(count, generator=generator))
        return places + self.deviation * torch.randn(count, 2, generator=generator)

    def shares(self, points: Tensor, radius: float) -> Tensor:
        """(M,) float32: of points (N, 2), one or more, the share nearest to each centre and within ``radius`` of it."""
        nearest = torch.cdist(points, self.centres).min(1)
        found = nearest.indices[nearest.values <= radius]
        return torch.bincount(found, minlength=len(self.centres)) / len(points)


def mixture(name: str) -> Mixture:
    """The mixture of that name.

    Args:
        name: "8-gaussians", on a circle; "25-gaussians", on a grid; "swiss-roll", a spiral with 50 centres.

    Raises:
        ValueError: there is none of that name; the message has the nearest right one.
    """
    return replace(_MIXTURES[check_name("mixture", name, MIXTURES)](), name=name)


def _gaussians(centres: Tensor, deviation: float) -> Mixture:
    """Equal parts, scaled so that centres have unit deviation along each axis, as the paper's code does it."""

    def place(uniform: Tensor) -> Tensor:
        return centres[(uniform * len(centres)).long()]

    return Mixture(centres, deviation, place)


def _eight_gaussians() -> Mixture:
    angles = 2 * math.pi * torch.arange(8, dtype=torch.float32) / 8
    return _gaussians(math.sqrt(2) * torch.stack((angles.cos(), angles.sin()), 1), 0.02 / 1.414)


def _twenty_five_gaussians() -> Mixture:
    line = 2 * torch.arange(-2, 3, dtype=torch.float32) / 2.828
    return _gaussians(torch.cartesian_prod(line, line), 0.05 / 2.828)


def _swiss_roll() -> Mixture:
    """t·(cos t, sin t) for t from 1.5π to 4.5π, as scikit-learn's roll seen from above, over 7.5."""

    def place(uniform: Tensor) -> Tensor:
        t = 1.5 * math.pi * (1 + 2 * uniform)
        return t[:, None] * torch.stack((t.cos(), t.sin()), 1) / 7.5

    return Mixture(place((torch.arange(50) + 0.5) / 50), 0.25 / 7.5, place)


_MIXTURES: dict[str, Callable[[], Mixture]] = {
    "8-gaussians": _eight_gaussians,
    "25-gaussians": _twenty_five_gaussians,
    "swiss-roll": _swiss_roll,
}
MIXTURES = tuple(_MIXTURES)
"""The names that `mixture` knows."""
