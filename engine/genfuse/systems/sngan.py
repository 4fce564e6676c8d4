"""Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957): a GAN whose critic's layers are 1-Lipschitz.

Critic (eq. 8):   each weight over its largest singular value, by one power iteration a forward, whose vectors are
                  carried over from step to step (algorithm 1)
Loss:             hinge (eq. 16 and 17)
Networks:         residual (appendix B.4, table 4); the generator as it is, with batch norm
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from genfuse.nn import spectral_norms
from genfuse.systems import networks
from genfuse.systems.gan import GAN, GANConfig
from genfuse.systems.networks import Network
from genfuse.train import Adam, RMSProp


@dataclass(frozen=True)
class SNGANConfig(GANConfig):
    """As :class:`GANConfig`."""

    network: Network = "resnet"
    width: int = 32
    critic_steps: int = 2
    generator_optimizer: Adam | RMSProp = field(default_factory=lambda: Adam(2e-4, (0.0, 0.9)))
    critic_optimizer: Adam | RMSProp = field(default_factory=lambda: Adam(4e-4, (0.0, 0.9)))
    loss: Literal["minimax", "non-saturating", "hinge", "least-squares"] = "hinge"


class SNGAN(GAN):
    """See the module."""

    name = "sngan"
    config_class = SNGANConfig

    def build(self) -> None:
        c = self.config
        self.generator = networks.generator(c.network, c.latents, self.image_shape, c.width)
        self.critic = spectral_norms(networks.critic(c.network, self.image_shape, c.width))
