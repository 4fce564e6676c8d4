"""SinGAN (Shaham et al. 2019, arXiv:1905.01164): a pyramid of small GANs that learn the patches of one photograph.

Pyramid (section 3.1):  x̃ₙ = x̃ₙ₊₁↑ + ψₙ(σₙ zₙ + x̃ₙ₊₁↑), from noise alone at the coarsest scale (eq. 1 to 3)
Networks (3.1):         ψ and the critic are five 3×3 convolutions each, of one field of view at every scale
Loss (eq. 4 to 6):      WGAN-GP on the mean of the critic's patches, and α ‖x̃ʳᵉᶜ − x‖² where noise is {z*, 0, ..., 0}
Noise (eq. 6 below):    σₙ is a share of the error that the reconstruction of the coarser scales leaves
Training (3.2):         scale by scale, coarsest first; each starts from the weights of the one before

Scales are counted from the coarsest here, 0. A batch is one picture, whose batch norm is instance norm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from genfuse import losses
from genfuse.nn import ConvNormAct
from genfuse.ops import check
from genfuse.penalties import gradient_penalty
from genfuse.systems import photo_editing
from genfuse.train import Adam, RunConfig, Step, System

LAYERS = 5
"""Convolutions of a network: each pixel sees 11×11, and a picture is padded by half of that at once."""


@dataclass(frozen=True)
class SinGANConfig:
    """Attributes:
    coarsest: shorter side of the coarsest scale, in pixels, about.
    factor: a scale's size, of the next finer one's, about.
    width: channels of the convolutions.
    scale_steps: steps of each scale; steps beyond all scales go to the finest.
    critic_steps, generator_steps: updates of each side a step.
    penalty: λ of the gradient penalty.
    reconstruction: α.
    noise: share of the reconstruction's error that σ is.
    generator_optimizer, critic_optimizer: of each side.
    """

    coarsest: int = 25
    factor: float = 0.75
    width: int = 32
    scale_steps: int = 400
    critic_steps: int = 3
    generator_steps: int = 3
    penalty: float = 0.1
    reconstruction: float = 10.0
    noise: float = 0.1
    generator_optimizer: Adam = field(default_factory=lambda: Adam(5e-4, (0.5, 0.999)))
    critic_optimizer: Adam = field(default_factory=lambda: Adam(5e-4, (0.5, 0.999)))

    def __post_init__(self) -> None:
        for name in ("coarsest", "width", "scale_steps", "critic_steps", "generator_steps"):
            check.count(name, getattr(self, name))
        if not 0 < self.factor < 1:
            raise ValueError(f"factor is {self.factor}, expected a share in (0, 1)")
        for name in ("penalty", "reconstruction", "noise"):
            check.not_negative(name, getattr(self, name))


def sizes(config: SinGANConfig, height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of each scale, coarsest first; the finest is the picture's own."""
    shorter = min(height, width)
    steps = max(0, round(math.log(config.coarsest / shorter) / math.log(config.factor)))
    share = (config.coarsest / shorter) ** (1 / steps) if steps else 1.0
    return [
        (round(height * share**below), round(width * share**below)) for below in reversed(range(steps + 1))
    ]


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """(N, C, H, W) → (N, C, *size), bicubic."""
    return nn.functional.interpolate(images, tuple(size), mode="bicubic", antialias=True)


class Patches(nn.Sequential):
    """(N, channels, H, W) → (N, outputs, H, W): the convolutions of either side."""

    def __init__(self, channels: int, width: int, outputs: int, *, is_generator: bool) -> None:
        norm = "instance" if is_generator else "none"  # a critic's would bind the patches that it is to judge
        inside: dict[str, Any] = {
            "norm": norm,
            "activation": "leaky_relu",
            "negative_slope": 0.2,
            "padding": 0,
        }
        last = {**inside, "out_activation": "tanh"} if is_generator else inside
        super().__init__(
            nn.ZeroPad2d(LAYERS),
            ConvNormAct(channels, width, norm="none", activation="none", padding=0),
            *(ConvNormAct(width, width, **inside) for _ in range(LAYERS - 2)),
            ConvNormAct(width, outputs, **last),
        )


class Pyramid(nn.Module):
    """What the scales learned: a generator each, σ of each (0 before its training), and z* of the coarsest."""

    amplitudes: Tensor
    anchor: Tensor

    def __init__(self, config: SinGANConfig, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.sizes = sizes(config, height, width)
        self.generators = nn.ModuleList(
            Patches(channels, config.width, channels, is_generator=True) for _ in self.sizes
        )
        self.register_buffer("amplitudes", torch.zeros(len(self.sizes)))
        self.register_buffer("anchor", torch.randn(1, channels, *self.sizes[0]))

    def forward(self, noises: Sequence[Tensor], image: Tensor | None = None, first: int = 0) -> Tensor:
        """What scales ``first`` and on make of a coarser picture and noise (N, C, h, w) each."""
        for scale, noise in enumerate(noises, first):
            below = torch.zeros_like(noise) if image is None else resized(image, noise.shape[2:])
            image = below + self.generators[scale](self.amplitudes[scale] * noise + below)
        assert image is not None
        return image

    def reconstruction(self, scales: int) -> Tensor | None:
        """(1, C, h, w): the picture at the last of so many scales, from {z*, 0, ..., 0}; None of no scale."""
        rest = (torch.zeros(1, self.anchor.shape[1], *size) for size in self.sizes[1:scales])
        return self([self.anchor, *(zeros.to(self.anchor.device) for zeros in rest)]) if scales else None


class SinGAN(photo_editing.PhotoEditing, System[SinGANConfig]):
    """See the module, and :class:`PhotoEditing` for what a trained one does."""

    name = "singan"
    config_class = SinGANConfig
    counts = ("scale_steps",)

    def build(self) -> None:
        if len(self.image_shape) != 3:
            raise ValueError(f"image_shape is {self.image_shape}, expected a picture (C, H, W)")
        channels, width = self.image_shape[0], self.config.width
        self.pyramid = Pyramid(self.config, self.image_shape)
        self.generator = Patches(channels, width, channels, is_generator=True)
        self.critic = Patches(channels, width, 1, is_generator=False)

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        """Of the one pair that trains: scales come one after the other."""
        return {
            "critic": self.config.critic_optimizer.of(self.critic.parameters()),
            "generator": self.config.generator_optimizer.of(self.generator.parameters()),
        }

    @property
    def averaged(self) -> Pyramid:
        """The pyramid; `generator` and `critic` are those of the scale that trains."""
        return self.pyramid

    def scale_of(self, step: int) -> int:
        """Which scale trains at a step."""
        return min(step // self.config.scale_steps, len(self.pyramid.sizes) - 1)

    def step(self, now: Step) -> None:
        c, loss = self.config, losses.get("wasserstein")
        scale = self.scale_of(now.number)
        real = resized(now.batch()[0], self.pyramid.sizes[scale])
        below = self._below(scale, real)
        if now.number == scale * c.scale_steps:
            self.pyramid.amplitudes[scale] = c.noise * (below - real).square().mean().sqrt() if scale else 1.0
        amplitude = self.pyramid.amplitudes[scale]
        pixels = math.sqrt(real[0, 0].numel())

        for _ in range(c.critic_steps):
            with torch.no_grad():
                fake = self._fake(now, scale, real)
            difference = loss.critic(self.critic(real), self.critic(fake))
            # Of Σ/√pixels, so that at a pixel the gradient is of size 1 whatever the scale's size.
            penalty = gradient_penalty(
                lambda x: self.critic(x) / pixels,
                real,
                fake,
                kind="wgan-gp",
                weight=c.penalty,
                seed=now.seed(),
                first=now.first(len(real)),
            )
            assert isinstance(penalty, Tensor)
            now.minimise("critic", difference + penalty)
            now.log(distance=-difference)
        noise = 0.0 if scale else self.pyramid.anchor
        for _ in range(c.generator_steps):
            rebuilt = below + self.generator(amplitude * noise + below)
            error = (rebuilt - real).square().mean()
            fooled = loss.generator(self.critic(self._fake(now, scale, real)))
            now.minimise("generator", fooled + c.reconstruction * error)
            now.log(reconstruction=error)
        now.log(scale=torch.tensor(float(scale)))
        self.pyramid.generators[scale].load_state_dict(self.generator.state_dict())

    @torch.no_grad()
    def _below(self, scale: int, real: Tensor) -> Tensor:
        """The reconstruction of the coarser scales, enlarged; 0 below the coarsest."""
        coarser = self.pyramid.reconstruction(scale)
        return torch.zeros_like(real) if coarser is None else resized(coarser, real.shape[2:]).expand_as(real)

    def _fake(self, now: Step, scale: int, real: Tensor) -> Tensor:
        """Samples of the scale that trains, on fresh noise at all scales."""
        count, channels = real.shape[:2]
        noises = [now.normal(count, channels, *size) for size in self.pyramid.sizes[: scale + 1]]
        below = torch.zeros_like(real)
        if scale:
            with torch.no_grad():
                below = resized(self.pyramid(noises[:-1]), real.shape[2:])
        made: Tensor = below + self.generator(self.pyramid.amplitudes[scale] * noises[-1] + below)
        return made

    def preview(self, averaged: nn.Module) -> Tensor:
        """The reconstruction, and eight samples, of the scales that have been trained; enlarged."""
        assert isinstance(averaged, Pyramid)
        scales = int((averaged.amplitudes > 0).sum())
        noises = photo_editing.noises(torch.arange(8), self.image_shape[0], averaged.sizes[:scales])
        reconstruction = averaged.reconstruction(scales)
        assert reconstruction is not None
        return resized(torch.cat((reconstruction, averaged(noises))), self.image_shape[1:])

    @classmethod
    def defaults(cls, image_shape: tuple[int, ...]) -> tuple[SinGANConfig, RunConfig]:
        """One picture a batch, no average, and as many steps as all scales take."""
        config = SinGANConfig()
        scales = len(sizes(config, *image_shape[1:])) if len(image_shape) == 3 else 1
        steps = scales * config.scale_steps
        return config, RunConfig(steps=steps, batch_size=1, ema_decay=0.0, flip=False, preview_every=400)
