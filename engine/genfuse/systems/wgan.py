"""Wasserstein GAN (Arjovsky et al. 2017, arXiv:1701.07875).

Distance (eq. 2):   W = max over 1-Lipschitz f of  E f(x) − E f(G(z)); f has no sigmoid, its loss no logarithm
Lipschitz:          after each update f's weights are clipped to [−c, c]
Step:               algorithm 1: n_critic updates of f, then one of G, both by RMSProp; f is brought near its optimum
                    by many more updates before the first ones of G, as in the authors' code
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from genfuse import losses
from genfuse.ops import check, clip_weights
from genfuse.systems import networks
from genfuse.systems.adversarial import Adversarial, AdversarialConfig
from genfuse.train import Adam, RMSProp, RunConfig, Step


@dataclass(frozen=True)
class WGANConfig(AdversarialConfig):
    """As :class:`AdversarialConfig`, and

    Attributes:
        clip: c, the largest magnitude of a critic's weight.
        first_steps: of G, before each of which the critic has ten times as many updates.
    """

    critic_steps: int = 5
    generator_optimizer: Adam | RMSProp = field(default_factory=lambda: RMSProp(2e-4))
    critic_optimizer: Adam | RMSProp = field(default_factory=lambda: RMSProp(2e-4))
    clip: float = 0.05
    first_steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check.count("first_steps", self.first_steps, 0)
        if not self.clip > 0:
            raise ValueError(f"clip is {self.clip}, expected more than 0")


class WGAN(Adversarial[WGANConfig]):
    """See the module."""

    name = "wgan"
    config_class = WGANConfig
    counts = ("first_steps",)

    def build(self) -> None:
        c = self.config
        self.generator = networks.generator(c.network, c.latents, self.image_shape, c.width)
        self.critic = networks.critic(c.network, self.image_shape, c.width)

    def step(self, now: Step) -> None:
        loss, first = losses.get("wasserstein"), now.number < self.config.first_steps
        for _ in range(self.config.critic_steps * (10 if first else 1)):
            real, _ = now.batch()
            with torch.no_grad():
                fake = self.generator(self.latents(now, len(real)))
            difference = loss.critic(self.critic(real), self.critic(fake))
            now.minimise("critic", difference)
            now.log(distance=-difference)
            with torch.no_grad():
                clip_weights(self.critic.parameters(), self.config.clip)
        fake = self.generator(self.latents(now, len(real)))
        now.minimise("generator", loss.generator(self.critic(fake)))

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[Any, RunConfig]:
        """Of points too it is RMSProp, and n_critic 5."""
        config, run = super().defaults(image_shape)
        rates = {"generator_optimizer": RMSProp(5e-4), "critic_optimizer": RMSProp(5e-4)}
        return (config if len(image_shape) == 3 else replace(config, critic_steps=5, **rates)), run
