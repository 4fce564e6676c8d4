"""Coupled GAN (Liu and Tuzel 2016, arXiv:1606.07536): pairs of pictures of two domains, learnt without a pair.

Generators (sec. 3):   g₁(z) and g₂(z), whose first layers, which decide what is shown, are the same
Critics (sec. 3):      f₁ and f₂, whose last layers are the same
Value (section 3):     the sum of both GANs' values, each on its own domain's pictures
Step:                  one update of both critics, then one of both generators, each from the same latents
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genfuse import losses
from genfuse.nn import DCGANCritic, DCGANGenerator
from genfuse.ops import check
from genfuse.systems.adversarial import Adversarial, AdversarialConfig
from genfuse.train import RunConfig, Step


@dataclass(frozen=True)
class CoGANConfig(AdversarialConfig):
    """As :class:`AdversarialConfig`, whose ``network`` is "cnn", and

    Attributes:
        own: layers next to the pictures that are a domain's own; all others are shared.
    """

    own: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check.count("own", self.own)


class Coupled(nn.Module):
    """What is shared, before or behind layers that are one domain's: ``forward(x, domain)``."""

    def __init__(self, first: nn.ModuleList | nn.Module, second: nn.ModuleList | nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor, domain: int) -> Tensor:
        """The second part of the first part of x."""
        for part in (self.first, self.second):
            x = part[domain](x) if isinstance(part, nn.ModuleList) else part(x)
        return x


class CoGAN(Adversarial[CoGANConfig]):
    """See the module; a sample is a pair, side by side: (N, C, H, 2·W)."""

    name = "cogan"
    config_class = CoGANConfig

    def build(self) -> None:
        c, (channels, height, width) = self.config, self.image_shape
        doublings = (height // 4).bit_length() - 1
        if len(self.class_names) != 2:
            raise ValueError(
                f"the data has {len(self.class_names)} classes, expected two domains, as digits-inverted"
            )
        if height != width or doublings < c.own or height != 4 << doublings:
            raise ValueError(
                f"pictures have {height} x {width} pixels, expected squares of 8, 16, 32, ..., {4 << c.own} at least "
                f"with own={c.own}"
            )
        widths = tuple(c.width << place for place in reversed(range(doublings)))
        generators = [list(DCGANGenerator(c.latents, widths, channels)) for _ in range(2)]
        critics = [list(DCGANCritic(channels, widths[::-1])) for _ in range(2)]
        self.generator = Coupled(
            nn.Sequential(nn.Unflatten(1, (c.latents, 1, 1)), *generators[0][: -c.own]),
            _each(units[-c.own :] for units in generators),
        )
        self.critic = Coupled(
            _each(units[: c.own] for units in critics), nn.Sequential(*critics[0][c.own :], nn.Flatten(0))
        )

    def made(self, averaged: nn.Module, latents: Tensor, labels: Tensor) -> Tensor:
        """Both pictures of the same latents."""
        return torch.cat([averaged(latents, domain) for domain in (0, 1)], 3)

    def step(self, now: Step) -> None:
        loss = losses.get("non-saturating")
        for _ in range(self.config.critic_steps):
            real = [now.batch(domain)[0] for domain in (0, 1)]
            latents = self.latents(now, len(real[0]))
            with torch.no_grad():
                fake = [self.generator(latents, domain) for domain in (0, 1)]
            values = [
                loss.critic(self.critic(real[domain], domain), self.critic(fake[domain], domain))
                for domain in (0, 1)
            ]
            now.minimise("critic", values[0] + values[1])
        latents = self.latents(now, len(latents))
        values = [loss.generator(self.critic(self.generator(latents, domain), domain)) for domain in (0, 1)]
        now.minimise("generator", values[0] + values[1])

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[Any, RunConfig]:
        """As DCGAN's."""
        return cls.config_class(), RunConfig(steps=3000)


def _each(parts: Iterable[Sequence[nn.Module]]) -> nn.ModuleList:
    return nn.ModuleList(nn.Sequential(*units) for units in parts)
