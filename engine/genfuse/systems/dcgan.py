"""Deep convolutional GAN (Radford et al. 2016, arXiv:1511.06434): a GAN, and networks that train stably.

Architecture (section 3):   strided convolutions in the place of pooling; batch norm in both, but not behind the
                            critic's first layer or the generator's last; no hidden linear layers; ReLU and tanh in the
                            generator, LeakyReLU in the critic
Training (section 4):       weights from N(0, 0.02²); Adam of rate 2e-4 and β₁ = 0.5
"""

from __future__ import annotations

from dataclasses import dataclass

from genfuse.systems import networks
from genfuse.systems.gan import GAN, GANConfig
from genfuse.systems.networks import Network


@dataclass(frozen=True)
class DCGANConfig(GANConfig):
    """As :class:`GANConfig`; the network is "cnn", whose ``width`` is that of the finest resolution."""

    network: Network = "cnn"
    width: int = 64


class DCGAN(GAN):
    """See the module."""

    name = "dcgan"
    config_class = DCGANConfig

    def build(self) -> None:
        c = self.config
        self.generator = networks.generator("cnn", c.latents, self.image_shape, c.width)
        self.critic = networks.critic("cnn", self.image_shape, c.width, norm="batch")
