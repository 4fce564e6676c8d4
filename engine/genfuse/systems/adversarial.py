"""What adversarial systems share: a generator of latents, a critic, how both are optimised, sampled and shown."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from genfuse.ops import check, philox_normal
from genfuse.systems import walks
from genfuse.systems.networks import Network
from genfuse.train import Adam, RMSProp, RunConfig, Step, System
from genfuse.train.pictures import Pictures

_POINTS_SHOWN = 4096


@dataclass(frozen=True)
class AdversarialConfig:
    """Attributes:
    network: "mlp", "cnn" or "resnet", of both sides; points of the plane take "mlp" alone.
    latents: width of the noise.
    width: of hidden layers, or of a CNN's finest resolution.
    critic_steps: updates of the critic before each of the generator, each with a batch of its own.
    generator_optimizer, critic_optimizer: of each side.
    """

    network: Network = "cnn"
    latents: int = 64
    width: int = 64
    critic_steps: int = 1
    generator_optimizer: Adam | RMSProp = field(default_factory=Adam)
    critic_optimizer: Adam | RMSProp = field(default_factory=Adam)

    def __post_init__(self) -> None:
        for name in ("latents", "width", "critic_steps"):
            check.count(name, getattr(self, name))


ConfigT = TypeVar("ConfigT", bound=AdversarialConfig)


class Adversarial(System[ConfigT]):
    """Samples are what ``generator`` makes of standard normal latents; ``build`` sets it and ``critic``."""

    generator: nn.Module
    critic: nn.Module

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        return {
            "critic": self.config.critic_optimizer.of(self.critic.parameters()),
            "generator": self.config.generator_optimizer.of(self.generator.parameters()),
        }

    @property
    def averaged(self) -> nn.Module:
        """The generator: samples come from its averaged weights."""
        return self.generator

    def latents(self, now: Step, count: int) -> Tensor:
        """(count, latents) standard normal."""
        return now.normal(count, self.config.latents)

    def made(self, generator: nn.Module, latents: Tensor, labels: Tensor) -> Tensor:
        """The samples of latents (N, latents) and labels (N,), which not every generator looks at."""
        samples: Tensor = generator(latents)
        return samples

    def preview(self, averaged: nn.Module) -> Tensor:
        """Eight of each of the first eight classes, of seeds 0 and on; of points some thousands."""
        count = 64 if len(self.image_shape) == 3 else _POINTS_SHOWN
        return self.made(averaged.eval(), self._seeded(0, count), self._labels(count, None))

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        batch: int = 64,
        device: str | torch.device = "cpu",
        progress: bool = False,
        label: str | None = None,
        interpolate: bool = False,
        arithmetic: bool = False,
    ) -> Pictures:
        """``count`` samples; number i is what the generator makes of the latents of seed ``seed + i``.

        Args:
            count, seed, batch, device, progress: as :meth:`genfuse.train.System.sample`.
            label: class of all; the classes in turn where left out.
            interpolate: rows of ten pictures instead, from one sample's latents to the next one's.
            arithmetic: rows of three pictures and what the generator makes of a − b + c of their latents.
        """
        place = check.device("device", device)
        generator = self.generator.to(place).eval()
        latents, labels = self._seeded(seed, count), self._labels(count, label)
        columns = None
        if interpolate and arithmetic:
            raise ValueError("interpolate and arithmetic are both asked for, expected one of them")
        if interpolate or arithmetic:
            walk = walks.interpolation if interpolate else walks.arithmetic
            latents, labels, columns = walk(latents, labels)
        began = time.perf_counter()
        parts = zip(torch.split(latents, batch), torch.split(labels, batch), strict=True)
        made = torch.cat([self.made(generator, *(t.to(place) for t in part)).cpu() for part in parts])
        return Pictures(made, time.perf_counter() - began, f"{self.name}, seed {seed}", columns)

    def _seeded(self, seed: int, count: int) -> Tensor:
        seeds = torch.arange(seed, seed + count, dtype=torch.int64)
        return philox_normal(seeds, (count, self.config.latents))

    def _labels(self, count: int, label: str | None) -> Tensor:
        if label is not None:
            return torch.full((count,), self.label(label))
        return torch.arange(count) % len(self.class_names)

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[Any, RunConfig]:
        """Points of the plane take a perceptron, two time scales and rates that fall."""
        config = cls.config_class()
        if len(image_shape) == 3:
            return config, RunConfig()
        rates = {"generator_optimizer": Adam(1e-3, (0.0, 0.9)), "critic_optimizer": Adam(2e-3, (0.0, 0.9))}
        points = replace(config, network="mlp", latents=2, width=128, critic_steps=1, **rates)
        return points, RunConfig(steps=2000, batch_size=256, cooldown_steps=1000, ema_decay=0.99)
