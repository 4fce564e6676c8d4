"""A style GAN's mapping network: from latents to styles."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from genfuse.nn.equalized import EqualizedLinear
from genfuse.nn.pixel_norm import PixelNorm
from genfuse.ops import check
from genfuse.ops.bias_act import bias_act


class MappingNetwork(nn.Module):
    """z, normalised, through equalised layers of LeakyReLU·√2 (Karras et al. 2019, figure 1; 2020).

    latent_dim     of z
    style_dim      of w
    cond_dim       of a condition c, embedded and normalised beside z; 0: none
    num_layers     1 or more
    hidden_dim     between the layers; None: style_dim
    lr_multiplier  of the layers, as `EqualizedLinear`
    average_decay  of the running mean of w, in [0, 1), which training moves and truncation draws w to

    ValueError or TypeError, naming the argument, for numbers that are not.
    """

    average: Tensor

    def __init__(
        self,
        latent_dim: int,
        style_dim: int,
        *,
        cond_dim: int = 0,
        num_layers: int = 8,
        hidden_dim: int | None = None,
        lr_multiplier: float = 0.01,
        average_decay: float = 0.998,
    ) -> None:
        hidden = style_dim if hidden_dim is None else hidden_dim
        for name, size in (
            ("latent_dim", latent_dim), ("style_dim", style_dim), ("num_layers", num_layers), ("hidden_dim", hidden),
        ):  # fmt: skip
            check.count(name, size)
        check.count("cond_dim", cond_dim, 0)
        check.finite("average_decay", average_decay)
        if not 0 <= average_decay < 1:
            raise ValueError(f"average_decay is {average_decay}, expected a number in [0, 1)")
        super().__init__()
        self.average_decay = average_decay
        self.norm = PixelNorm()
        self.embed = EqualizedLinear(cond_dim, style_dim) if cond_dim else None
        sizes = [latent_dim + (style_dim if cond_dim else 0), *(hidden,) * (num_layers - 1), style_dim]
        self.layers = nn.ModuleList(
            EqualizedLinear(inputs, outputs, lr_multiplier=lr_multiplier)
            for inputs, outputs in pairwise(sizes)
        )
        self.register_buffer("average", torch.zeros(style_dim))

    def forward(self, z: Tensor, c: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """z (N, latent_dim) and c (N, cond_dim) → w (N, style_dim).

        truncation  1: w itself; 0: its running mean; between and beyond along that line
        """
        check.finite("truncation", truncation)
        h = self.norm(z)
        if (c is None) != (self.embed is None):
            raise ValueError(
                f"c is {'absent' if c is None else 'given'}, expected it {'only ' if self.embed is None else ''}"
                "of a mapping network with cond_dim"
            )
        if c is not None and self.embed is not None:
            h = torch.cat([h, self.norm(self.embed(c))], 1)
        for layer in self.layers:
            h = bias_act(layer(h), activation="leaky_relu", gain=math.sqrt(2))
        if self.training and z.shape[0]:
            with torch.no_grad():
                self.average.lerp_(h.detach().mean(0).to(self.average.dtype), 1 - self.average_decay)
        return h if truncation == 1 else torch.lerp(self.average.to(h.dtype), h, truncation)
