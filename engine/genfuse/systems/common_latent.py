"""What systems share that translate through a latent space common to all domains: encoders, decoders, critics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from genfuse.nn import CycleGANBlock, PatchCritic
from genfuse.nn.cyclegan import ascent, descent
from genfuse.nn.patch_critic import initialise
from genfuse.ops import check
from genfuse.systems.translation import Translator
from genfuse.train import Adam, RunConfig


@dataclass(frozen=True)
class CommonLatentConfig:
    """Attributes:
    width: of encoders and decoders at full resolution, and of critics.
    blocks: residual blocks of each encoder and each decoder that are its domain's own.
    shared: residual blocks that all encoders end with, and as many that all decoders begin with.
    halvings: of a critic: patches have 7, 16, 34 or 70 pixels for 0 to 3.
    generator_optimizer, critic_optimizer: of encoders and decoders, and of critics.
    """

    width: int = 16
    blocks: int = 1
    shared: int = 1
    halvings: int = 1
    generator_optimizer: Adam = field(default_factory=Adam)
    critic_optimizer: Adam = field(default_factory=Adam)

    def __post_init__(self) -> None:
        check.count("width", self.width)
        for name in ("blocks", "shared", "halvings"):
            check.count(name, getattr(self, name), 0)

    def check_weights(self, *names: str) -> None:
        """ValueError where a weight of the loss is negative, or no number."""
        for name in names:
            check.not_negative(name, getattr(self, name))


ConfigT = TypeVar("ConfigT", bound=CommonLatentConfig)


def _halvings(image_shape: tuple[int, ...]) -> int:
    return max(halvings for halvings in range(3) if halvings == 0 or min(image_shape[1:]) >> halvings >= 8)


class Coders(nn.Module):
    """An encoder and a decoder a domain: pictures (N, C, H, W) to latents (N, 4·width, h, w), and back.

    Encoders end in the same layers, decoders begin with the same. Latents have a fourth of the pictures' height and
    width, or half or all of them where a fourth were less than 8 pixels: the blocks' instance norm leaves nothing of a
    picture that has a few pixels.
    """

    def __init__(self, config: CommonLatentConfig, image_shape: tuple[int, ...], domains: int) -> None:
        super().__init__()
        c, channels, halvings = config, image_shape[0], _halvings(image_shape)
        width = 4 * c.width >> halvings

        def blocks(count: int) -> list[nn.Module]:
            return [CycleGANBlock(4 * c.width) for _ in range(count)]

        self.encoders = nn.ModuleList(
            nn.Sequential(*descent(channels, width, halvings), *blocks(c.blocks)) for _ in range(domains)
        )
        self.shared_encoder, self.shared_decoder = (nn.Sequential(*blocks(c.shared)) for _ in range(2))
        self.decoders = nn.ModuleList(
            nn.Sequential(*blocks(c.blocks), *ascent(width, channels, halvings)) for _ in range(domains)
        )
        self.apply(initialise)

    def encode(self, images: Tensor, domain: int) -> Tensor:
        """Latents of pictures of this domain."""
        latents: Tensor = self.shared_encoder(self.encoders[domain](images))
        return latents

    def decode(self, latents: Tensor, domain: int) -> Tensor:
        """Pictures of this domain."""
        images: Tensor = self.decoders[domain](self.shared_decoder(latents))
        return images

    def forward(self, images: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Pictures of domains source (N,) as pictures of domains target (N,)."""
        made = torch.empty_like(images)
        for start, end in sorted(set(zip(source.tolist(), target.tolist(), strict=True))):
            rows = (source == start) & (target == end)
            made[rows] = self.decode(self.encode(images[rows], start), end)
        return made


class CommonLatent(Translator[ConfigT]):
    """Translates by one domain's encoder and another's decoder."""

    def build(self) -> None:
        c, channels, domains = self.config, self.image_shape[0], len(self.class_names)
        if domains < 2:
            raise ValueError(f"the data has {domains} class, expected several domains, as of digits-inverted")
        self.coders = Coders(c, self.image_shape, domains)
        self.critics = nn.ModuleList(
            PatchCritic(channels, c.width, c.halvings, "none") for _ in range(domains)
        )

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        return {
            "generator": self.config.generator_optimizer.of(self.coders.parameters()),
            "critic": self.config.critic_optimizer.of(self.critical()),
        }

    def critical(self) -> Iterable[nn.Parameter]:
        """The weights that are updated against the others."""
        return self.critics.parameters()

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a picture's latents."""
        halvings = _halvings(self.image_shape)
        return 4 * self.config.width, self.image_shape[1] >> halvings, self.image_shape[2] >> halvings

    @property
    def averaged(self) -> nn.Module:
        """Encoders and decoders."""
        return self.coders

    def translated(
        self, averaged: nn.Module, images: Tensor, source: Tensor, target: Tensor, seeds: Tensor
    ) -> Tensor:
        made: Tensor = averaged(images, source, target)
        return made

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[CommonLatentConfig, RunConfig]:
        """Batches of 16, and rates that fall in the second half."""
        config: CommonLatentConfig = cls.config_class()
        return config, RunConfig(steps=2000, batch_size=16, cooldown_steps=1000)
