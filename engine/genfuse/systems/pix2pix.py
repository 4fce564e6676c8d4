"""pix2pix (Isola et al. 2017, arXiv:1611.07004): a picture from a picture, learnt from pairs.

Value (eq. 1 and 4):   min over G, max over D of  E log D(x, y) + E log(1 − D(x, G(x, z)))  +  λ E |y − G(x, z)|
Generator (3.2.1):     a U-Net whose skips carry what both pictures have in common; the noise z is dropout, in use too
Critic (3.2.2):        of patches, each seen beside the same patch of the input
Step (3.3):            one update of D, its loss halved, then one of G, which maximises log D(x, G(x, z))
Without D:             ``adversarial_weight=0`` leaves the distance alone, whose pictures are blurred (section 4.2)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from genfuse import losses
from genfuse.nn import PatchCritic, Pix2PixGenerator
from genfuse.ops import check
from genfuse.systems.translation import Translator
from genfuse.train import Adam, RunConfig, Step


@dataclass(frozen=True)
class Pix2PixConfig:
    """Attributes:
    width: of the finest resolution; doubled at each coarser one, up to four times.
    levels: resolutions of the U-Net, each half of the one before.
    noisy: of these, from the coarsest, how many have dropout.
    halvings: of the critic: patches have 7, 16, 34 or 70 pixels for 0 to 3.
    adversarial_weight: 0 leaves the critic out.
    distance_weight: λ.
    generator_optimizer, critic_optimizer: of each side.
    """

    width: int = 32
    levels: int = 4
    noisy: int = 2
    halvings: int = 1
    adversarial_weight: float = 1.0
    distance_weight: float = 100.0
    generator_optimizer: Adam = field(default_factory=Adam)
    critic_optimizer: Adam = field(default_factory=Adam)

    def __post_init__(self) -> None:
        check.count("width", self.width)
        check.count("levels", self.levels)
        check.count("noisy", self.noisy, 0)
        check.count("halvings", self.halvings, 0)
        weights = self.adversarial_weight, self.distance_weight
        if not min(weights) >= 0 or not max(weights) > 0:
            raise ValueError(
                f"adversarial_weight is {weights[0]}, distance_weight is {weights[1]}, expected 0 or more, not both 0"
            )


class Pix2Pix(Translator[Pix2PixConfig]):
    """See the module; samples are pairs: what is given, and behind it on the channels what is wanted."""

    name = "pix2pix"
    config_class = Pix2PixConfig
    views = 2
    one_way = True
    domains = ("input", "output")

    def build(self) -> None:
        c, (channels, height, width) = self.config, self.picture_shape
        if height % 2**c.levels or width % 2**c.levels:
            raise ValueError(
                f"pictures have {height} x {width} pixels, expected multiples of {2**c.levels} (levels)"
            )
        widths = tuple(c.width << min(level, 2) for level in range(c.levels))
        self.generator = Pix2PixGenerator(channels, channels, widths, c.noisy)
        self.critic = PatchCritic(2 * channels, c.width, c.halvings) if c.adversarial_weight else None

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        generator = {"generator": self.config.generator_optimizer.of(self.generator.parameters())}
        if self.critic is None:
            return generator
        return {"critic": self.config.critic_optimizer.of(self.critic.parameters()), **generator}

    @property
    def averaged(self) -> nn.Module:
        """The generator."""
        return self.generator

    def translated(
        self, averaged: nn.Module, images: Tensor, source: Tensor, target: Tensor, seeds: Tensor
    ) -> Tensor:
        made: Tensor = averaged(images, seeds)
        return made

    def step(self, now: Step) -> None:
        c, loss = self.config, losses.get("non-saturating")
        pairs, _ = now.batch()
        x, y = pairs.chunk(2, 1)
        fake = self.generator(x, now.integers(2**62, len(x)))
        distance = losses.l1(fake, y)
        total = c.distance_weight * distance
        if self.critic is not None:
            scores = self.critic(pairs), self.critic(torch.cat((x, fake.detach()), 1))
            now.minimise("critic", loss.critic(*scores) / 2)
            total = total + c.adversarial_weight * loss.generator(self.critic(torch.cat((x, fake), 1)))
        now.minimise("generator", total)
        now.log(distance=distance)

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[Pix2PixConfig, RunConfig]:
        """Batches of 16, and rates that fall in the second half, as CycleGAN's and pix2pix's code has it."""
        levels = max(1, min(4, (image_shape[-1] & -image_shape[-1]).bit_length() - 1))
        config = cls.config_class(levels=levels, noisy=min(2, levels - 1))
        return config, RunConfig(steps=3000, batch_size=16, cooldown_steps=1500)
