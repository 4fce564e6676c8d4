"""What adversarial systems share: a generator of latents, a critic, and how both are optimised."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import nn

from genfuse.ops import check
from genfuse.systems.latent import Latent, LatentConfig
from genfuse.systems.networks import Network
from genfuse.train import Adam, RMSProp, RunConfig


@dataclass(frozen=True)
class AdversarialConfig(LatentConfig):
    """As :class:`LatentConfig`, and

    Attributes:
        network: "mlp", "cnn", "resnet" or "transformer", of both sides; points of the plane take "mlp" alone.
        width: of hidden layers, of a CNN's finest resolution, or of a transformer's tokens (a multiple of 8).
        critic_steps: updates of the critic before each of the generator, each with a batch of its own.
        generator_optimizer, critic_optimizer: of each side.
    """

    network: Network = "cnn"
    width: int = 64
    critic_steps: int = 1
    generator_optimizer: Adam | RMSProp = field(default_factory=Adam)
    critic_optimizer: Adam | RMSProp = field(default_factory=Adam)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "critic_steps"):
            check.count(name, getattr(self, name))


ConfigT = TypeVar("ConfigT", bound=AdversarialConfig)


@contextmanager
def knowingly_coupled() -> Iterator[None]:
    """Around penalties of a critic that compares the samples of a batch, as its paper has it: no warning says so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*reduces over the first axis")
        yield


class Adversarial(Latent[ConfigT]):
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

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[Any, RunConfig]:
        """Points of the plane take a perceptron, two time scales and rates that fall."""
        config = cls.config_class()
        if len(image_shape) == 3:
            return config, RunConfig()
        rates = {"generator_optimizer": Adam(1e-3, (0.0, 0.9)), "critic_optimizer": Adam(2e-3, (0.0, 0.9))}
        points = replace(config, network="mlp", latents=2, width=128, critic_steps=1, **rates)
        return points, RunConfig(steps=2000, batch_size=256, cooldown_steps=1000, ema_decay=0.99)
