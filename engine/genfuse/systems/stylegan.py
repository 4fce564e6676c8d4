"""The style-based GAN (Karras et al. 2019, arXiv:1812.04948, "A"; 2020, arXiv:1912.04958, "B").

Generator (A, section 2):  w = f(z), a perceptron; a constant of 4x4 pixels; each layer is told w; noise beside each
Layers:         "modulated": w scales the convolution's weights, which are demodulated (B, section 2.2)
                "adain":     w scales and shifts normalised features (A, eq. 1)
                pictures of all resolutions are added up (B, figure 7b), the critic is residual (7c)
Mixing (A, section 3.1):   of some pictures the finer layers are told another w
Truncation (A, app. B):    w drawn to its mean: w̄ + ψ (w − w̄)
Losses:         non-saturating, as logits; R1, γ/2 E ‖∇D(x)‖², each `r1_every`th step (B, section 3.1), and path lengths
                (B, eq. 4) each `path_every`th, times as much for it; Adam with β₁ = 0, corrected likewise (B, app. B)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from genfuse import losses
from genfuse.nn import (
    AdaINLayer,
    BlurDownsample,
    EqualizedConv2d,
    EqualizedLinear,
    MappingNetwork,
    MinibatchStdDev,
    StyleLayer,
    ToRGB,
)
from genfuse.ops import bias_act, check
from genfuse.penalties import gradient_penalty, path_length_penalty
from genfuse.systems import walks
from genfuse.systems.adversarial import Adversarial, AdversarialConfig, knowingly_coupled
from genfuse.systems.networks import doublings_of
from genfuse.train import Adam, RMSProp, RunConfig, Step
from genfuse.train.pictures import Pictures

_ADAM = partial(Adam, 2e-3, (0.0, 0.99))


@dataclass(frozen=True)
class StyleGANConfig(AdversarialConfig):
    """As :class:`AdversarialConfig`, whose ``network`` is not asked, and

    Attributes:
        styles: width of w.
        mapping_layers: of the mapping network.
        layers: "modulated" or "adain".
        widest: channels at most, of the coarse resolutions.
        mixing: share of the pictures that are made of two styles in training.
        r1, r1_every: γ, and in how many of the critic's updates once; γ 0 for never.
        path_weight, path_every: of the path lengths, of the generator's.
    """

    width: int = 32
    generator_optimizer: Adam | RMSProp = field(default_factory=_ADAM)
    critic_optimizer: Adam | RMSProp = field(default_factory=_ADAM)
    styles: int = 64
    mapping_layers: int = 4
    layers: Literal["modulated", "adain"] = "modulated"
    widest: int = 128
    mixing: float = 0.9
    r1: float = 1.0
    r1_every: int = 16
    path_weight: float = 2.0
    path_every: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("styles", "mapping_layers", "widest", "r1_every", "path_every"):
            check.count(name, getattr(self, name))
        if not 0 <= self.mixing <= 1:
            raise ValueError(f"mixing is {self.mixing}, expected a share in [0, 1]")
        if not self.r1 >= 0 or not self.path_weight >= 0:
            raise ValueError(f"r1 is {self.r1}, path_weight is {self.path_weight}, expected 0 or more")

    def channels(self, shape: tuple[int, ...]) -> list[int]:
        """Of each resolution from 4 pixels on."""
        doublings = doublings_of("stylegan", shape)
        return [min(self.widest, self.width << place) for place in reversed(range(doublings + 1))]


class Synthesis(nn.Module):
    """Styles (N, depth, styles), one a layer, → pictures."""

    def __init__(self, config: StyleGANConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        layer: type[StyleLayer] | type[AdaINLayer] = (
            StyleLayer if config.layers == "modulated" else AdaINLayer
        )
        channels = config.channels(shape)
        self.start = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        first = layer(channels[0], channels[0], config.styles)
        self.layers = nn.ModuleList([first])
        for below, above in pairwise(channels):
            self.layers.append(layer(below, above, config.styles, up=2, noise_stream=len(self.layers)))
            self.layers.append(layer(above, above, config.styles, noise_stream=len(self.layers)))
        self.to_pictures = nn.ModuleList(ToRGB(width, config.styles, shape[0]) for width in channels)

    @property
    def depth(self) -> int:
        """Layers that are told a style."""
        return len(self.layers)

    def forward(self, w: Tensor, seeds: Tensor | None = None) -> Tensor:
        """w (N, depth, styles) → (N, C, H, W); ``seeds`` (N,) of the noise, PyTorch's own where left out."""
        h: Tensor = self.start.expand(len(w), -1, -1, -1)
        picture: Tensor | None = None
        for place, (layer, style) in enumerate(zip(self.layers, w.unbind(1), strict=True)):
            h = layer(h, style, seeds)
            if place % 2 == 0:  # the last of a resolution
                picture = self.to_pictures[place // 2](h, style, picture)
        assert picture is not None
        return picture


class StyleGenerator(nn.Module):
    """The mapping network and the synthesis."""

    def __init__(self, config: StyleGANConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.mapping = MappingNetwork(config.latents, config.styles, num_layers=config.mapping_layers)
        self.synthesis = Synthesis(config, shape)

    def styles(self, latents: Tensor, crossover: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """latents (N, latents), or (N, 2, latents) of coarse and fine layers → (N, depth, styles).

        ``crossover`` (N,) int64 is how many layers, the coarsest first, are told the first.
        """
        depth = self.synthesis.depth
        if crossover is None:
            w: Tensor = self.mapping(latents, truncation=truncation)
            return w[:, None].expand(-1, depth, -1)
        coarse, fine = (self.mapping(part, truncation=truncation) for part in latents.unbind(1))
        is_coarse = torch.arange(depth, device=latents.device) < crossover[:, None]
        return torch.where(is_coarse[:, :, None], coarse[:, None], fine[:, None])

    def forward(self, latents: Tensor, crossover: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """As :meth:`styles`, and their pictures; noise is the same in all of them."""
        seeds = torch.zeros(len(latents), dtype=torch.int64, device=latents.device)
        pictures: Tensor = self.synthesis(self.styles(latents, crossover, truncation), seeds)
        return pictures


class StyleCritic(nn.Module):
    """(N, C, H, W) → scores (N,)."""

    def __init__(self, config: StyleGANConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels = config.channels(shape)
        self.first = EqualizedConv2d(shape[0], channels[-1], 1)
        self.blocks = nn.Sequential(*(_CriticBlock(*widths) for widths in pairwise(reversed(channels))))
        self.deviation = MinibatchStdDev()
        self.last = EqualizedConv2d(channels[0] + 1, channels[0], 3, padding=1)
        self.hidden = EqualizedLinear(16 * channels[0], channels[0])
        self.score = EqualizedLinear(channels[0], 1)

    def forward(self, images: Tensor) -> Tensor:
        """The scores."""
        h = self.deviation(self.blocks(_activated(self.first(images))))
        h = _activated(self.hidden(_activated(self.last(h)).flatten(1)))
        scores: Tensor = self.score(h)[:, 0]
        return scores


class _CriticBlock(nn.Module):
    """Two convolutions, a half as large between them, beside a 1x1 one, over √2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = EqualizedConv2d(in_channels, in_channels, 3, padding=1)
        self.down = BlurDownsample()
        self.second = EqualizedConv2d(in_channels, out_channels, 3, padding=1)
        self.shortcut = EqualizedConv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = _activated(self.second(self.down(_activated(self.first(x)))))
        out: Tensor = (h + self.shortcut(self.down(x))) * math.sqrt(0.5)
        return out


def _activated(x: Tensor) -> Tensor:
    return bias_act(x, activation="leaky_relu", gain=math.sqrt(2))


class StyleGAN(Adversarial[StyleGANConfig]):
    """See the module."""

    name = "stylegan"
    config_class = StyleGANConfig
    generator: StyleGenerator
    path_length: Tensor

    def build(self) -> None:
        self.generator = StyleGenerator(self.config, self.image_shape)
        self.critic = StyleCritic(self.config, self.image_shape)
        self.register_buffer("path_length", torch.zeros(()))

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        """Of k/(k + 1) of the rate and to that power of β where one update in k is the penalty's (B, appendix B)."""
        c = self.config
        critic, generator = c.critic_optimizer, c.generator_optimizer
        return {
            "critic": _lazily(critic, c.r1 and c.r1_every).of(self.critic.parameters()),
            "generator": _lazily(generator, c.path_weight and c.path_every).of(self.generator.parameters()),
        }

    def made(
        self,
        averaged: nn.Module,
        latents: Tensor,
        labels: Tensor,
        crossover: Tensor | None = None,
        truncation: float = 1.0,
    ) -> Tensor:
        """The pictures of latents, as :meth:`StyleGenerator.forward` has it."""
        samples: Tensor = averaged(latents, crossover, truncation)
        return samples

    def step(self, now: Step) -> None:
        c, loss = self.config, losses.get("non-saturating")
        for _ in range(c.critic_steps):
            real, _ = now.batch()
            if c.r1 and now.number % c.r1_every == 0:
                with knowingly_coupled():
                    penalty = gradient_penalty(self.critic, real, kind="r1", weight=c.r1 * c.r1_every)
                assert isinstance(penalty, Tensor)
                now.minimise("critic", penalty)
                now.log(r1=penalty / c.r1_every)
            with torch.no_grad():
                fake = self.generator.synthesis(self._styles(now, len(real)))
            now.minimise("critic", loss.critic(self.critic(real), self.critic(fake)))
        if c.path_weight and now.number % c.path_every == 0:
            now.minimise("generator", self._path_length_penalty(now, (len(real) + 1) // 2))
            now.log(path_length=self.path_length)
        fake = self.generator.synthesis(self._styles(now, len(real)))
        now.minimise("generator", loss.generator(self.critic(fake)))

    def _styles(self, now: Step, count: int) -> Tensor:
        """(count, depth, styles), some of them mixed at any of the layers."""
        depth = self.generator.synthesis.depth
        latents = self.latents(now, 2 * count).reshape(count, 2, -1)
        mixed = now.uniform(count) < self.config.mixing
        crossover = torch.where(mixed, 1 + now.integers(depth - 1, count), depth)
        return self.generator.styles(latents, crossover)

    def _path_length_penalty(self, now: Step, count: int) -> Tensor:
        """Eq. 4 of B, of a smaller batch, as in the authors' code."""
        c, noise = self.config, now.integers(2**62, count)
        penalty = path_length_penalty(
            partial(self.generator.synthesis, seeds=noise),
            self._styles(now, count),
            self.path_length,
            weight=c.path_weight * c.path_every,
            seed=now.seed(),
            first=now.first(count),
        )
        assert isinstance(penalty, Tensor)
        return penalty

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
        truncation: float = 1.0,
        style_mixing: int | None = None,
    ) -> Pictures:
        """As :meth:`Latent.sample`, and

        Args:
            truncation: ψ: 1 as trained, 0 the mean picture, between them less diverse and better ones.
            style_mixing: a grid instead: the first column and the first row are samples, each other picture takes its
                first so many layers' styles from its row's and the finer ones' from its column's; 1 to depth − 1.
        """
        check.finite("truncation", truncation)
        if style_mixing is None:
            parts, columns = self._walk(count, seed, label, interpolate, arithmetic)
            return self._made_of(parts, columns, seed, batch, device, truncation=truncation)
        if interpolate or arithmetic:
            raise ValueError("style_mixing and a walk are both asked for, expected one of them")
        depth = self.generator.synthesis.depth
        if not 1 <= style_mixing < depth:
            raise ValueError(
                f"style_mixing is {style_mixing}, expected 1 to {depth - 1} of the {depth} layers"
            )
        latents, columns = walks.crossings(self._seeded(seed, 2 * max(1, math.isqrt(count) - 1)))
        crossed = (latents, self._labels(len(latents), label), torch.full((len(latents),), style_mixing))
        made = self._made_of(crossed, columns, seed, batch, device, truncation=truncation)
        made.images[0] = 1.0  # the corner, which has neither row nor column
        return made

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[Any, RunConfig]:
        """A smaller batch, and averages over more steps."""
        return cls.config_class(), RunConfig(steps=4000, batch_size=16, ema_decay=0.998)


def _lazily(optimizer: Adam | RMSProp, every: float) -> Adam | RMSProp:
    """As it is to be where it makes a penalty's update, too, one time in ``every``; 0: never."""
    if not every or not isinstance(optimizer, Adam):
        return optimizer
    share = every / (every + 1)
    first, second = optimizer.betas
    return replace(
        optimizer, learning_rate=optimizer.learning_rate * share, betas=(first**share, second**share)
    )
