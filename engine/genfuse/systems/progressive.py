"""Progressive growing (Karras et al. 2018, arXiv:1710.10196): a GAN that learns coarse pictures first.

Growing (section 2, figure 2):  a resolution's layers fade in beside the last one's, α from 0 to 1, then train; real
                                pictures fade likewise (appendix A.1). The stage follows from the step's number
Variation (section 3):          the critic sees the deviation over the minibatch as one more channel
Equalised rates (section 4.1):  weights from N(0, 1), scaled where they are used
Pixel norm (section 4.2):       behind each of the generator's convolutions
Loss (appendix A.1):            WGAN-GP's, plus 0.001 E D(x)² that keeps the scores near 0; Adam with β₁ = 0, β₂ = 0.99
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genfuse import losses
from genfuse.nn import EqualizedConv2d, EqualizedLinear, MinibatchStdDev, PixelNorm
from genfuse.ops import bias_act, check
from genfuse.penalties import gradient_penalty
from genfuse.systems.adversarial import Adversarial, AdversarialConfig, knowingly_coupled
from genfuse.systems.networks import doublings_of
from genfuse.train import Adam, RMSProp, RunConfig, Step

_ADAM = partial(Adam, 1e-3, (0.0, 0.99))


@dataclass(frozen=True)
class ProgressiveConfig(AdversarialConfig):
    """As :class:`AdversarialConfig`, whose ``network`` is not asked, and

    Attributes:
        widest: channels at most, of the coarse resolutions.
        smallest: side of the first pictures: 4, 8, ...
        stage_steps: steps for which a resolution fades in, and for which it then trains.
        weight: of the gradient penalty.
        drift: of the squared scores.
    """

    width: int = 32
    widest: int = 128
    smallest: int = 8
    stage_steps: int = 600
    generator_optimizer: Adam | RMSProp = field(default_factory=_ADAM)
    critic_optimizer: Adam | RMSProp = field(default_factory=_ADAM)
    weight: float = 10.0
    drift: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("widest", "stage_steps"):
            check.count(name, getattr(self, name))
        if self.smallest < 4 or self.smallest & (self.smallest - 1):
            raise ValueError(f"smallest is {self.smallest}, expected 4, 8, 16, ...")
        if not self.weight >= 0 or not self.drift >= 0:
            raise ValueError(f"weight is {self.weight}, drift is {self.drift}, expected 0 or more")

    def channels(self, shape: tuple[int, ...]) -> list[int]:
        """Of each resolution from 4 pixels on."""
        doublings = doublings_of("progressive", shape)
        return [min(self.widest, self.width << place) for place in reversed(range(doublings + 1))]


class Stage(NamedTuple):
    """Pictures of 4·2^level pixels, of which the share α is the new resolution's."""

    level: int
    alpha: float


def stage_at(step: int, config: ProgressiveConfig, levels: int) -> Stage:
    """Of a step, counted from 0: the first resolution trains, then each of the ``levels`` fades in and trains."""
    phase, within = divmod(step, config.stage_steps)
    first = int(math.log2(config.smallest // 4))
    level = first + (phase + 1) // 2
    if level >= levels:
        return Stage(levels - 1, 1.0)
    return Stage(level, (within + 1) / (config.stage_steps + 1) if phase % 2 else 1.0)


class ProgressiveGenerator(nn.Module):
    """(N, latents) → pictures of the stage that its buffer ``steps`` says.

    Args:
        config: settings.
        shape: (C, H, W) of the finest pictures.
    """

    steps: Tensor

    def __init__(self, config: ProgressiveConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.config, channels = config, config.channels(shape)
        self.first = EqualizedLinear(config.latents, 16 * channels[0])
        self.start = _Layer(channels[0], channels[0])
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), _Layer(below, above), _Layer(above, above))
            for below, above in pairwise(channels)
        )
        self.to_pictures = nn.ModuleList(EqualizedConv2d(width, shape[0], 1) for width in channels)
        self.norm = PixelNorm()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def stage(self) -> Stage:
        """Of the step that the generator is at: a checkpoint in the middle of a fade has it."""
        return stage_at(int(self.steps), self.config, len(self.to_pictures))

    def forward(self, latents: Tensor) -> Tensor:
        """(N, C, S, S), S = 4·2^level."""
        level, alpha = self.stage
        h = self.first(self.norm(latents)).unflatten(1, (-1, 4, 4))
        h = before = self.start(self.norm(_activated(h)))
        for block in self.blocks[:level]:
            before, h = h, block(h)
        pictures: Tensor = self.to_pictures[level](h)
        if alpha < 1:
            pictures = torch.lerp(_doubled(self.to_pictures[level - 1](before)), pictures, alpha)
        return pictures


class ProgressiveCritic(nn.Module):
    """Pictures of a stage → scores (N,); arguments as :class:`ProgressiveGenerator`."""

    def __init__(self, config: ProgressiveConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels = config.channels(shape)
        self.from_pictures = nn.ModuleList(EqualizedConv2d(shape[0], width, 1) for width in channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(_Layer(above, above, norm=False), _Layer(above, below, norm=False), nn.AvgPool2d(2))
            for below, above in pairwise(channels)
        )
        self.deviation = MinibatchStdDev()
        self.last = _Layer(channels[0] + 1, channels[0], norm=False)
        self.hidden = EqualizedLinear(16 * channels[0], channels[0])
        self.score = EqualizedLinear(channels[0], 1)

    def forward(self, pictures: Tensor, stage: Stage) -> Tensor:
        """pictures (N, C, S, S) of the stage → (N,)."""
        level, alpha = stage
        h = _activated(self.from_pictures[level](pictures))
        for place in reversed(range(level)):
            h = self.blocks[place](h)
            if place == level - 1 and alpha < 1:
                h = torch.lerp(_activated(self.from_pictures[place](_halved(pictures))), h, alpha)
        h = _activated(self.hidden(self.last(self.deviation(h)).flatten(1)))
        scores: Tensor = self.score(h)[:, 0]
        return scores


class _Layer(nn.Module):
    """A 3x3 convolution of equalised rate, LeakyReLU, and the generator's pixel norm."""

    def __init__(self, in_channels: int, out_channels: int, norm: bool = True) -> None:
        super().__init__()
        self.conv = EqualizedConv2d(in_channels, out_channels, 3, padding=1)
        self.norm = PixelNorm() if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(_activated(self.conv(x)))
        return out


def _activated(x: Tensor) -> Tensor:
    """LeakyReLU, times √2: what it takes from a signal's size."""
    return bias_act(x, activation="leaky_relu", gain=math.sqrt(2))


def _doubled(pictures: Tensor) -> Tensor:
    return F.interpolate(pictures, scale_factor=2.0)


def _halved(pictures: Tensor) -> Tensor:
    return F.avg_pool2d(pictures, 2)


class ProgressiveGAN(Adversarial[ProgressiveConfig]):
    """See the module."""

    name = "progressive"
    config_class = ProgressiveConfig
    counts = ("stage_steps",)
    generator: ProgressiveGenerator

    def build(self) -> None:
        if self.config.smallest > self.image_shape[-1]:
            raise ValueError(
                f"smallest is {self.config.smallest}, expected at most the pictures' side, {self.image_shape[-1]}"
            )
        self.generator = ProgressiveGenerator(self.config, self.image_shape)
        self.critic = ProgressiveCritic(self.config, self.image_shape)

    def made(self, averaged: nn.Module, latents: Tensor, labels: Tensor) -> Tensor:
        """The stage's pictures, in the finest ones' size."""
        return F.interpolate(averaged(latents), self.image_shape[-2:])

    def step(self, now: Step) -> None:
        c, loss = self.config, losses.get("wasserstein")
        self.generator.steps.fill_(now.number)
        stage = self.generator.stage
        for _ in range(c.critic_steps):
            real = self.real(now.batch()[0], stage)
            with torch.no_grad():
                fake = self.generator(self.latents(now, len(real)))
            critic = partial(self.critic, stage=stage)
            with knowingly_coupled():
                penalty, norms = gradient_penalty(
                    critic, real, fake, kind="wgan-gp", weight=c.weight, seed=now.seed(),
                    first=now.first(len(real)), return_norms=True,
                )  # fmt: skip
            of_real = critic(real)
            difference = loss.critic(of_real, critic(fake))
            now.minimise("critic", difference + penalty + c.drift * of_real.square().mean())
            now.log(distance=-difference, gradient_norm=norms.mean())
        fake = self.generator(self.latents(now, len(real)))
        now.minimise("generator", loss.generator(self.critic(fake, stage)))
        now.log(pixels=torch.tensor(4.0 * 2**stage.level), alpha=torch.tensor(stage.alpha))

    def real(self, images: Tensor, stage: Stage) -> Tensor:
        """Pictures (N, C, H, W) as the stage sees them: (N, C, S, S)."""
        level, alpha = stage
        seen = F.avg_pool2d(images, images.shape[-1] // (4 << level))
        return seen if alpha == 1 else torch.lerp(_doubled(_halved(seen)), seen, alpha)

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[Any, RunConfig]:
        """Long enough that the finest resolution trains as long as it faded in; from 4 pixels on where they are few."""
        config = cls.config_class()
        if image_shape[-1] <= config.smallest:
            config = replace(config, smallest=4)
        phases = 2 * int(math.log2(max(image_shape[-1], 4) / config.smallest)) + 1
        return config, RunConfig(steps=phases * config.stage_steps, batch_size=16, ema_decay=0.999)
