"""The gradient penalties by name: where the gradient is taken, and what its norms cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

KindName = Literal["wgan-gp", "wgan-lp", "r1", "r2", "dragan", "zero-centered", "max-gp"]
KIND_NAMES: tuple[KindName, ...] = get_args(KindName)

Place = Literal["interpolates", "real", "fake", "perturbed"]


class Kind(NamedTuple):
    """A penalty, without its weight."""

    place: Place
    of_norms: Callable[[Tensor], Tensor]
    """(N,) to (), differentiable"""


def _two_sided(norms: Tensor) -> Tensor:
    return (norms - 1).square().mean()


def _one_sided(norms: Tensor) -> Tensor:
    return torch.relu(norms - 1).square().mean()


def _half_square(norms: Tensor) -> Tensor:
    return norms.square().mean() / 2


def _square(norms: Tensor) -> Tensor:
    return norms.square().mean()


def _of_largest(norms: Tensor) -> Tensor:
    return torch.relu(norms.amax() - 1).square()


KINDS: dict[KindName, Kind] = {
    "wgan-gp": Kind("interpolates", _two_sided),  # Gulrajani et al. 2017, eq. 3
    "wgan-lp": Kind("interpolates", _one_sided),  # Petzka, Fischer and Lukovnikov 2018, eq. 8
    "r1": Kind("real", _half_square),  # Mescheder, Geiger and Nowozin 2018, eq. 9
    "r2": Kind("fake", _half_square),  # likewise, eq. 10
    "dragan": Kind("perturbed", _two_sided),  # Kodali et al. 2017
    "zero-centered": Kind("interpolates", _square),  # Thanh-Tung, Tran and Venkatesh 2019
    "max-gp": Kind("interpolates", _of_largest),  # Zhou et al. 2019
}
