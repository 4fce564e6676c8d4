"""Energy-based GAN (Zhao et al. 2017, arXiv:1609.03126): the critic is an autoencoder, its error the energy.

Energy (section 2.3):   D(x) = ‖decoder(encoder(x)) − x‖, a pixel's mean square here
Losses (eq. 1 and 2):   D(x) + max(0, m − D(G(z))) for the critic, D(G(z)) for the generator
Repelling (sec. 2.4):   plus a weight times the mean squared cosine between the fakes' codes
Anomalies:              the energy of what the critic was not trained on is higher
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genfuse import losses
from genfuse.ops import check
from genfuse.systems import networks
from genfuse.systems.adversarial import Adversarial, AdversarialConfig
from genfuse.systems.networks import Network
from genfuse.train import Step


@dataclass(frozen=True)
class EBGANConfig(AdversarialConfig):
    """As :class:`AdversarialConfig`, and

    Attributes:
        codes: width of the critic's code.
        margin: m, of the size of energies.
        repelling: weight of the pulling-away term.
    """

    network: Network = "mlp"
    width: int = 256
    codes: int = 16
    margin: float = 0.3
    repelling: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check.count("codes", self.codes)
        if not self.margin > 0 or not self.repelling >= 0:
            wrong = f"margin is {self.margin}, repelling is {self.repelling}"
            raise ValueError(f"{wrong}, expected more than 0 and 0 or more")


class Energy(nn.Module):
    """(N, ...) → energies (N,) and codes (N, codes)."""

    def __init__(self, config: EBGANConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = networks.critic(config.network, shape, config.width, outputs=config.codes)
        self.decoder = networks.generator(config.network, config.codes, shape, config.width)

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and codes."""
        codes = self.encoder(samples)
        return (self.decoder(codes) - samples).flatten(1).square().mean(1), codes


class EBGAN(Adversarial[EBGANConfig]):
    """See the module."""

    name = "ebgan"
    config_class = EBGANConfig

    def build(self) -> None:
        c = self.config
        self.generator = networks.generator(c.network, c.latents, self.image_shape, c.width)
        self.critic = Energy(c, self.image_shape)

    @property
    def averaged(self) -> nn.Module:
        """Both sides: the critic's energies find anomalies."""
        return nn.ModuleDict({"generator": self.generator, "critic": self.critic})

    def made(self, averaged: nn.Module, latents: Tensor, labels: Tensor) -> Tensor:
        """What the generator makes of latents."""
        samples: Tensor = averaged["generator"](latents)  # type: ignore[index]
        return samples

    def step(self, now: Step) -> None:
        c, loss = self.config, losses.EnergyBased(self.config.margin)
        for _ in range(c.critic_steps):
            real, _ = now.batch()
            with torch.no_grad():
                fake = self.generator(self.latents(now, len(real)))
            of_real, of_fake = self.critic(real)[0], self.critic(fake)[0]
            now.minimise("critic", loss.critic(of_real, of_fake))
            now.log(energy=of_real.mean(), fake_energy=of_fake.mean())
        energies, codes = self.critic(self.generator(self.latents(now, len(real))))
        now.minimise("generator", loss.generator(energies) + c.repelling * losses.repelling(codes))

    @torch.no_grad()
    def energy(self, images: Tensor) -> Tensor:
        """(N,): low for what looks like the pictures that it was trained on."""
        energies: Tensor = self.critic(images)[0]
        return energies
