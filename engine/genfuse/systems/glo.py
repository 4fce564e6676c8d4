"""Generative latent optimisation (Bojanowski et al. 2018, arXiv:1707.05776): a generator alone.

Objective (eq. 1):   min over θ of 1/N Σᵢ min over zᵢ of  ℓ(g_θ(zᵢ), xᵢ): each picture of the data has a code of its own
Codes (section 2.1): in the unit ball; one that leaves it is put back on its sphere after each step
Losses (sec. 2.2):   ℓ₂, and the Laplacian pyramid's ℓ₁ (eq. 2), Σⱼ 2^{2j} |Lʲ(x) − Lʲ(x′)|₁: edges at every scale, not
                     their mean colour alone
Samples (sec. 3.3):  of codes from a Gaussian of full covariance that is fitted to the learned ones
Step:                one of θ and of the batch's codes
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from genfuse.data.dataset import Data, ImageDataset
from genfuse.nn import BlurDownsample, BlurUpsample
from genfuse.ops import check
from genfuse.systems import networks
from genfuse.systems.gaussian import coloured, moments
from genfuse.systems.latent import Latent, LatentConfig
from genfuse.systems.networks import Network
from genfuse.train import Adam, RunConfig, Step


@dataclass(frozen=True)
class GLOConfig(LatentConfig):
    """As :class:`LatentConfig`, and

    Attributes:
        network: "mlp", "cnn" or "resnet".
        width: of hidden layers, or of a CNN's finest resolution.
        loss: "laplacian" (with ℓ₂, as the authors' code has it), "l2" or "l1".
        optimizer: of the generator.
        code_rate: learning rate of the codes.
        pictures: of the data; it follows from them.
    """

    latents: int = 32
    network: Network = "cnn"
    width: int = 64
    loss: Literal["laplacian", "l2", "l1"] = "laplacian"
    optimizer: Adam = field(default_factory=lambda: Adam(1e-3, (0.5, 0.999)))
    code_rate: float = 0.01
    pictures: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check.count("width", self.width)
        check.count("pictures", self.pictures)
        if not self.code_rate > 0:
            raise ValueError(f"code_rate is {self.code_rate}, expected more than 0")


class LaplacianPyramid(nn.Module):
    """What each octave has that the coarser one has not, finest first, and what is left (Burt and Adelson 1983)."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = BlurDownsample(), BlurUpsample()

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) → levels (N, C, H/2ʲ, W/2ʲ) down to an odd side, or one of less than 4 pixels."""
        levels = []
        while min(images.shape[2:]) >= 4 and images.shape[2] % 2 == images.shape[3] % 2 == 0:
            coarse = self.down(images)
            levels.append(images - self.up(coarse))
            images = coarse
        return [*levels, images]


class GLO(Latent[GLOConfig]):
    """See the module."""

    name = "glo"
    config_class = GLOConfig

    def build(self) -> None:
        c = self.config
        self.generator = networks.generator(c.network, c.latents, self.image_shape, c.width)
        self.codes = nn.Embedding(c.pictures, c.latents)
        self.pyramid = LaplacianPyramid()
        self._into_the_ball()

    def optimizers(self, run: RunConfig) -> dict[str, torch.optim.Optimizer]:
        """Adam of both; the codes' β₁ is 0, so that only those of the batch move."""
        optimizer = self.config.optimizer.of(self.generator.parameters())
        codes = {"params": self.codes.parameters(), "lr": self.config.code_rate, "betas": (0.0, 0.99)}
        optimizer.add_param_group(codes)
        return {"generator": optimizer}

    @property
    def averaged(self) -> nn.Module:
        """The generator and the codes: samples come from both."""
        return nn.ModuleDict({"generator": self.generator, "codes": self.codes})

    def made(self, averaged: nn.Module, latents: Tensor, labels: Tensor) -> Tensor:
        """What the generator makes of latents, put where the learned codes are."""
        codes = coloured(latents, *moments(averaged["codes"].weight))  # type: ignore[index]
        samples: Tensor = averaged["generator"](_in_the_ball(codes))  # type: ignore[index]
        return samples

    def step(self, now: Step) -> None:
        images, numbers = now.numbered_batch()
        made = self.generator(self.codes(numbers))
        now.minimise("generator", self.distance(made, images))
        self._into_the_ball()
        now.log(error=(made - images).square().mean())

    def distance(self, made: Tensor, images: Tensor) -> Tensor:
        """ℓ, a pixel's mean: ()."""
        difference = made - images
        if self.config.loss == "l1":
            return difference.abs().mean()
        error = difference.square().mean()
        if self.config.loss == "l2":
            return error
        # Level j has a 2^{2j}-th of the pixels: eq. 2's weights give each level's mean the same weight. The pyramid is
        # linear: that of the difference is the difference of both.
        levels = [level.abs().mean() for level in self.pyramid(difference)]
        return torch.stack(levels).sum() + error

    @torch.no_grad()
    def reconstructed(self, numbers: Tensor) -> Tensor:
        """Pictures (N, C, H, W) of the training pictures with these numbers (N,)."""
        pictures: Tensor = self.generator(self.codes(numbers))
        return pictures

    @torch.no_grad()
    def _into_the_ball(self) -> None:
        self.codes.weight.copy_(_in_the_ball(self.codes.weight))

    @classmethod
    def fitted(cls, config: GLOConfig, data: Data) -> GLOConfig:
        """A code a picture. ValueError for points of the plane, which never come again."""
        if not isinstance(data, ImageDataset):
            raise ValueError("data are points of the plane, expected pictures, each of which has a code")
        return replace(config, pictures=len(data))


def _in_the_ball(codes: Tensor) -> Tensor:
    inside: Tensor = codes / codes.norm(dim=1, keepdim=True).clamp(min=1)
    return inside
