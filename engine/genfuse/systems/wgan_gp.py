"""Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, arXiv:1704.00028).

Critic (eq. 3):   E f(G(z)) − E f(x) + λ E (‖∇f(x̂)‖ − 1)²,   x̂ = u x + (1 − u) G(z), u uniform, one a sample
Step:             algorithm 1: n_critic updates of f, then one of G, by Adam with β₁ = 0
Networks:         no batch norm in the critic, where it would tie the samples' gradients together (section 4)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from genfuse import losses
from genfuse.penalties import gradient_penalty
from genfuse.systems import networks
from genfuse.systems.adversarial import Adversarial, AdversarialConfig
from genfuse.systems.networks import Network
from genfuse.train import Adam, RMSProp, RunConfig, Step


@dataclass(frozen=True)
class WGANGPConfig(AdversarialConfig):
    """As :class:`AdversarialConfig`, and

    Attributes:
        penalty: which of `genfuse.gradient_penalty`'s; "wgan-lp" is one-sided.
        weight: λ.
    """

    network: Network = "resnet"
    width: int = 32
    critic_steps: int = 3
    generator_optimizer: Adam | RMSProp = field(default_factory=lambda: Adam(2e-4, (0.0, 0.9)))
    critic_optimizer: Adam | RMSProp = field(default_factory=lambda: Adam(4e-4, (0.0, 0.9)))
    penalty: Literal["wgan-gp", "wgan-lp", "zero-centered", "max-gp"] = "wgan-gp"
    weight: float = 10.0


class WGANGP(Adversarial[WGANGPConfig]):
    """See the module."""

    name = "wgan_gp"
    config_class = WGANGPConfig

    def build(self) -> None:
        c = self.config
        self.generator = networks.generator(c.network, c.latents, self.image_shape, c.width)
        self.critic = networks.critic(c.network, self.image_shape, c.width)

    def step(self, now: Step) -> None:
        c, loss = self.config, losses.get("wasserstein")
        for _ in range(c.critic_steps):
            real, _ = now.batch()
            with torch.no_grad():
                fake = self.generator(self.latents(now, len(real)))
            difference = loss.critic(self.critic(real), self.critic(fake))
            penalty, norms = gradient_penalty(
                self.critic,
                real,
                fake,
                kind=c.penalty,
                weight=c.weight,
                seed=now.seed(),
                first=now.first(len(real)),
                return_norms=True,
            )
            now.minimise("critic", difference + penalty)
            now.log(distance=-difference, gradient_norm=norms.mean())
        fake = self.generator(self.latents(now, len(real)))
        now.minimise("generator", loss.generator(self.critic(fake)))

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[Any, RunConfig]:
        """Of points λ is 0.1, as in the authors' code."""
        config, run = super().defaults(image_shape)
        return (config if len(image_shape) == 3 else replace(config, weight=0.1)), run
