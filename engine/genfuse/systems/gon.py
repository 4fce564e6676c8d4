"""Gradient origin networks (Bond-Taylor and Willcocks 2021, arXiv:2007.02798): an autoencoder without an encoder.

Encoding:    z = −∇ L(x, F(z₀)) at z₀ = 0: one step of gradient descent from the origin, through the decoder F alone
Objective:   L(x, F(z)), whose gradient by F's weights goes through that gradient: F is differentiated twice, which our
             units are exactly. F's activation must be curved for it, as SiLU is (the paper's section on activations)
L:           half the squared error, summed over pixels: −log N(x; F(z), I) up to a constant
Samples:     of codes from a Gaussian that is fitted to the encodings while it trains
Step:        one update of F
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from genfuse.nn import ConvNormAct, Linear
from genfuse.ops import check
from genfuse.systems.gaussian import coloured, moments
from genfuse.systems.latent import Latent, LatentConfig
from genfuse.systems.networks import doublings_of
from genfuse.train import Adam, RunConfig, Step

MOMENTS_DECAY = 0.98
"""Of the encodings' running mean and covariance: some fifty batches, as F moves on."""


@dataclass(frozen=True)
class GONConfig(LatentConfig):
    """As :class:`LatentConfig`, and

    Attributes:
        width: of the decoder's finest resolution, a multiple of 8; doubled at each coarser one.
        optimizer: of the decoder.
    """

    latents: int = 32
    width: int = 32
    optimizer: Adam = field(default_factory=lambda: Adam(1e-3, (0.9, 0.999)))

    def __post_init__(self) -> None:
        super().__post_init__()
        check.count("width", self.width)
        if self.width % 8:
            raise ValueError(f"width is {self.width}, expected a multiple of 8, the groups of its norms")


class Decoder(nn.Module):
    """F: (N, latents) → pictures in [-1, 1], smooth: group norm and SiLU in the place of ReLU.

    Its buffers are the mean and the covariance of the encodings.
    """

    mean: Tensor
    covariance: Tensor

    def __init__(self, config: GONConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        doublings = doublings_of("gon", shape)
        widths = [config.width << place for place in reversed(range(doublings + 1))]
        self.first = Linear(config.latents, 16 * widths[0])
        self.blocks = nn.Sequential(
            *(ConvNormAct(below, above, upsample=2) for below, above in pairwise(widths)),
            ConvNormAct(widths[-1], shape[0], out_activation="tanh"),
        )
        self.register_buffer("mean", torch.zeros(config.latents))
        self.register_buffer("covariance", torch.eye(config.latents))

    def forward(self, latents: Tensor) -> Tensor:
        """The pictures."""
        pictures: Tensor = self.blocks(self.first(latents).unflatten(1, (-1, 4, 4)))
        return pictures

    @torch.no_grad()
    def follow(self, codes: Tensor) -> None:
        """Move mean and covariance towards those of (N, latents)."""
        for buffer, now in zip((self.mean, self.covariance), moments(codes), strict=True):
            buffer.lerp_(now, 1 - MOMENTS_DECAY)


class GON(Latent[GONConfig]):
    """See the module."""

    name = "gon"
    config_class = GONConfig

    def build(self) -> None:
        self.decoder = Decoder(self.config, self.image_shape)

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        return {"decoder": self.config.optimizer.of(self.decoder.parameters())}

    @property
    def averaged(self) -> nn.Module:
        """The decoder: it encodes, too."""
        return self.decoder

    def made(self, averaged: nn.Module, latents: Tensor, labels: Tensor) -> Tensor:
        """What the decoder makes of latents, put where the encodings are."""
        assert isinstance(averaged, Decoder)
        samples: Tensor = averaged(coloured(latents, averaged.mean, averaged.covariance))
        return samples

    def encoded(self, images: Tensor, create_graph: bool = False) -> Tensor:
        """z of pictures (N, C, H, W): (N, latents); with ``create_graph`` differentiable by the decoder's weights."""
        with torch.enable_grad():
            origin = images.new_zeros(len(images), self.config.latents, requires_grad=True)
            loss = _loss(self.decoder(origin), images).sum()  # a picture's gradient is its own
            (gradient,) = torch.autograd.grad(loss, origin, create_graph=create_graph)
        return -gradient

    def step(self, now: Step) -> None:
        images, _ = now.batch()
        codes = self.encoded(images, create_graph=True)
        made = self.decoder(codes)
        now.minimise("decoder", _loss(made, images).mean())
        self.decoder.follow(codes)
        now.log(error=(made - images).square().mean())

    @torch.no_grad()
    def reconstructed(self, images: Tensor) -> Tensor:
        """Pictures (N, C, H, W) through their codes."""
        decoded: Tensor = self.decoder(self.encoded(images))
        return decoded


def _loss(made: Tensor, images: Tensor) -> Tensor:
    """(N,)."""
    return (made - images).square().flatten(1).sum(1) / 2
