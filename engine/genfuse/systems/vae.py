"""Variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114), with β (Higgins et al. 2017).

Bound (eq. 3):   log p(x) ≥ E log p(x|z) − β KL(q(z|x) ‖ N(0, I)),   z = μ(x) + σ(x) ε, ε ~ N(0, I) (eq. 4)
KL (appendix B): −½ Σ (1 + log σ² − μ² − σ²)
Likelihood:      normal around the decoder's picture, of one deviation for all pixels: log p(x|z) in nats
Step:            one update of both networks on minus the bound
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from genfuse.ops import check
from genfuse.systems import networks
from genfuse.systems.latent import Latent, LatentConfig
from genfuse.systems.networks import Network
from genfuse.train import Adam, RunConfig, Step


@dataclass(frozen=True)
class VAEConfig(LatentConfig):
    """As :class:`LatentConfig`, and

    Attributes:
        network: "mlp", "cnn" or "resnet", of encoder and decoder.
        width: of hidden layers, or of a CNN's finest resolution.
        beta: weight of the KL divergence; 1 gives the bound.
        deviation: of a pixel around the decoder's.
        optimizer: of both networks.
    """

    latents: int = 16
    network: Network = "mlp"
    width: int = 256
    beta: float = 1.0
    deviation: float = 0.3
    optimizer: Adam = field(default_factory=lambda: Adam(1e-3, (0.9, 0.999)))

    def __post_init__(self) -> None:
        super().__post_init__()
        check.count("width", self.width)
        check.not_negative("beta", self.beta)
        if not self.deviation > 0:
            raise ValueError(f"deviation is {self.deviation}, expected more than 0")


class Autoencoder(nn.Module):
    """An encoder of pictures (N, C, H, W) to (N, codes), and a decoder of latents (N, latents) to pictures."""

    def __init__(self, config: VAEConfig, shape: tuple[int, ...], codes: int) -> None:
        super().__init__()
        self.encoder = networks.critic(config.network, shape, config.width, outputs=codes)
        self.decoder = networks.generator(config.network, config.latents, shape, config.width)


class VAE(Latent[VAEConfig]):
    """See the module."""

    name = "vae"
    config_class = VAEConfig

    def build(self) -> None:
        self.autoencoder = Autoencoder(self.config, self.image_shape, 2 * self.config.latents)

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        return {"autoencoder": self.config.optimizer.of(self.autoencoder.parameters())}

    @property
    def averaged(self) -> nn.Module:
        """Encoder and decoder."""
        return self.autoencoder

    def made(self, averaged: nn.Module, latents: Tensor, labels: Tensor) -> Tensor:
        """What the decoder makes of latents."""
        samples: Tensor = averaged.decoder(latents)  # type: ignore[operator]
        return samples

    def step(self, now: Step) -> None:
        images, _ = now.batch()
        mean, log_variance = self.autoencoder.encoder(images).chunk(2, 1)
        latents = mean + (log_variance / 2).exp() * self.latents(now, len(images))
        likelihood = self.log_likelihood(images, self.autoencoder.decoder(latents))
        kl = -(1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean() / 2
        now.minimise("autoencoder", self.config.beta * kl - likelihood)
        now.log(log_likelihood=likelihood, kl=kl, bound=likelihood - kl)

    def log_likelihood(self, images: Tensor, decoded: Tensor) -> Tensor:
        """(): the mean over pictures of log N(images; decoded, deviation²), in nats."""
        variance = self.config.deviation**2
        error = (images - decoded).flatten(1).square()
        return -(error / variance + math.log(2 * math.pi * variance)).sum(1).mean() / 2

    @torch.no_grad()
    def reconstructed(self, images: Tensor) -> Tensor:
        """Pictures (N, C, H, W) through the mean of their codes."""
        mean = self.autoencoder.encoder(images)[:, : self.config.latents]
        decoded: Tensor = self.autoencoder.decoder(mean)
        return decoded
