"""The two sides of a GAN: what the critic and what the generator minimise, from the critic's raw scores.

Scores are logits (N, ...) of any floating dtype, several a sample averaged (patch critics); real and fake batches may
differ in size. D is the critic's score, σ the logistic function; −log σ(l) = softplus(−l) is taken as one function,
which neither overflows nor rounds to log 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.losses.batch import wide
from genfuse.ops import check


class AdversarialLoss(Protocol):
    """Both return (), to be minimised; ValueError or TypeError, naming the argument, for what are no scores."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Of the critic's scores of real and fake samples, (N, ...) and (M, ...)."""

    def generator(self, fake: Tensor) -> Tensor:
        """Of the critic's scores (N, ...) of fake samples, through which the generator gets its gradient."""


def _softplus(logits: Tensor) -> Tensor:
    """log(1 + eˡ); F.softplus is l itself from 20 on, which float64 would see."""
    return -F.logsigmoid(-logits)


@dataclass(frozen=True)
class Minimax:
    """Goodfellow et al. 2014 (arXiv:1406.2661), eq. 1; the generator's side saturates where the critic is sure."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """−E log σ(D(x)) − E log(1 − σ(D(G(z))))"""
        return _softplus(-wide("real", real)).mean() + _softplus(wide("fake", fake)).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """E log(1 − σ(D(G(z))))"""
        return -_softplus(wide("fake", fake)).mean()


@dataclass(frozen=True)
class NonSaturating(Minimax):
    """Goodfellow et al. 2014, section 3: the critic's side as minimax, a generator that learns from being found out."""

    def generator(self, fake: Tensor) -> Tensor:
        """−E log σ(D(G(z)))"""
        return _softplus(-wide("fake", fake)).mean()


@dataclass(frozen=True)
class Hinge:
    """Lim and Ye 2017 (arXiv:1705.02894); Miyato et al. 2018 (arXiv:1802.05957), eq. 16 and 17."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """E max(0, 1 − D(x)) + E max(0, 1 + D(G(z)))"""
        return torch.relu(1 - wide("real", real)).mean() + torch.relu(1 + wide("fake", fake)).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """−E D(G(z))"""
        return -wide("fake", fake).mean()


@dataclass(frozen=True)
class LeastSquares:
    """Mao et al. 2017 (arXiv:1611.04076), eq. 2.

    fake_label, real_label, target  a, b and c there: what the critic says of fake and real samples, and what the
                                    generator wants it to say of fake ones
    """

    fake_label: float = 0.0
    real_label: float = 1.0
    target: float = 1.0

    def __post_init__(self) -> None:
        for name in ("fake_label", "real_label", "target"):
            check.finite(name, getattr(self, name))

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """½ E (D(x) − b)² + ½ E (D(G(z)) − a)²"""
        of_real = (wide("real", real) - self.real_label).square().mean()
        of_fake = (wide("fake", fake) - self.fake_label).square().mean()
        return (of_real + of_fake) / 2

    def generator(self, fake: Tensor) -> Tensor:
        """½ E (D(G(z)) − c)²"""
        return (wide("fake", fake) - self.target).square().mean() / 2


@dataclass(frozen=True)
class Wasserstein:
    """Arjovsky et al. 2017 (arXiv:1701.07875), eq. 2 and 3; the critic has to be kept Lipschitz by other means.

    `genfuse.gradient_penalty` or `genfuse.ops.clip_weights` are such.
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """E D(G(z)) − E D(x): minus the estimate of the distance"""
        return wide("fake", fake).mean() - wide("real", real).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """−E D(G(z))"""
        return -wide("fake", fake).mean()


@dataclass(frozen=True)
class EnergyBased:
    """EBGAN (Zhao et al. 2017, arXiv:1609.03126), eq. 1 and 2: D is an energy, low for real samples.

    There it is an autoencoder's reconstruction error, one number a sample.

    margin  m: above it fake samples are left alone; more than 0, of the size of energies
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        check.finite("margin", self.margin)
        if self.margin <= 0:
            raise ValueError(f"margin is {self.margin}, expected more than 0")

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """E D(x) + E max(0, m − D(G(z)))"""
        return wide("real", real).mean() + torch.relu(self.margin - wide("fake", fake)).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """E D(G(z))"""
        return wide("fake", fake).mean()
