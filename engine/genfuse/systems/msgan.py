"""Mode-seeking GAN (Mao et al. 2019, arXiv:1903.05628): a conditional GAN that does not leave its latents unused.

Ratio (eq. 2):       d(G(z₁, y), G(z₂, y)) / d(z₁, z₂), d the mean absolute difference: near 0 where modes collapse
Generator (eq. 3):   the conditional GAN's loss, of both pictures, plus λ over that ratio, as the authors' code turns it
                     into what is minimised
Critic:              the conditional GAN's
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genfuse import losses
from genfuse.ops import check
from genfuse.systems.cgan import CGAN, CGANConfig
from genfuse.train import Step


@dataclass(frozen=True)
class MSGANConfig(CGANConfig):
    """As :class:`CGANConfig`, and

    Attributes:
        seeking: λ.
    """

    seeking: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.not_negative("seeking", self.seeking)


class MSGAN(CGAN):
    """See the module."""

    name = "msgan"
    config_class = MSGANConfig
    config: MSGANConfig

    def generator_loss(self, now: Step, labels: Tensor) -> Tensor:
        """(): of two new pictures for each of these labels (N,)."""
        c, twice = self.config, torch.cat((labels, labels))
        latents = self.latents(now, len(twice))
        fake = self.generator(latents, twice)
        seeking = losses.mode_seeking(*fake.chunk(2), *latents.chunk(2))
        now.log(mode_seeking=seeking)
        return losses.get(c.loss).generator(self.critic(fake, twice)) + c.seeking * seeking
