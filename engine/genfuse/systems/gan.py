"""The generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661).

Value (eq. 1):   min over G, max over D of  E log D(x) + E log(1 − D(G(z))),   z ~ N(0, I)
Generator:       "minimax" as there; "non-saturating" maximises E log D(G(z)) (section 3)
Step:            algorithm 1: k updates of D, each on a batch of its own, then one of G
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from genfuse import losses
from genfuse.systems import networks
from genfuse.systems.adversarial import Adversarial, AdversarialConfig
from genfuse.systems.networks import Network
from genfuse.train import Step


@dataclass(frozen=True)
class GANConfig(AdversarialConfig):
    """As :class:`AdversarialConfig`, and

    Attributes:
        loss: "minimax", "non-saturating", "hinge" or "least-squares"; the scores are logits.
        dropout: of a perceptron's critic (section 5).
    """

    network: Network = "mlp"
    width: int = 256
    loss: Literal["minimax", "non-saturating", "hinge", "least-squares"] = "non-saturating"
    dropout: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, expected a share in [0, 1)")


class GAN(Adversarial[GANConfig]):
    """See the module."""

    name = "gan"
    config_class = GANConfig

    def build(self) -> None:
        c = self.config
        self.generator = networks.generator(c.network, c.latents, self.image_shape, c.width)
        self.critic = networks.critic(c.network, self.image_shape, c.width, dropout=c.dropout)

    def step(self, now: Step) -> None:
        loss = losses.get(self.config.loss)
        for _ in range(self.config.critic_steps):
            real, _ = now.batch()
            with torch.no_grad():
                fake = self.generator(self.latents(now, len(real)))
            now.minimise("critic", loss.critic(self.critic(real), self.critic(fake)))
        fake = self.generator(self.latents(now, len(real)))
        now.minimise("generator", loss.generator(self.critic(fake)))
