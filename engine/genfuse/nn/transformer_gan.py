"""A generator and a critic without convolutions, after TransGAN (Jiang et al. 2021, arXiv:2102.07074)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genfuse.nn.attention import SelfAttention
from genfuse.nn.conv_norm_act import ConvNormAct
from genfuse.nn.linear import Linear
from genfuse.ops import check
from genfuse.ops.bias_act import bias_act
from genfuse_kernels.conv_norm_act.settings import Norm

_HEAD = 16
"""Channels a head, where so many divide the width."""


class TransformerBlock(nn.Module):
    """``h + perceptron(norm(h))`` with ``h = x + attention(norm(x))``, over the pixels of x (N, C, H, W) as tokens.

    The perceptron is two 1x1 convolutions, C to 4·C and back, layer norm of each token before and GELU between them.

    Args:
        channels: C, a multiple of 8, the groups of the attention's norm.

    ValueError or TypeError, naming the argument, for a size that is none.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check.count("channels", channels)
        self.attention = SelfAttention(channels, channels // _HEAD if channels % _HEAD == 0 else 1)
        self.wide = ConvNormAct(channels, 4 * channels, 1, norm="layer_pixel", activation="none")
        self.narrow = ConvNormAct(4 * channels, channels, 1, norm="none", activation="gelu")

    def forward(self, x: Tensor) -> Tensor:
        """A tensor like x."""
        h = self.attention(x)
        out: Tensor = self.narrow(self.wide(h), residual=h)
        return out


class TransformerGenerator(nn.Module):
    """(N, latents) → (N, out_channels, S, S) in [-1, 1], S = 4·2^doublings.

    A linear layer to 4x4 tokens, and at each resolution a learned position and a block; between them each token becomes
    four by pixel shuffle (section 3.2), the last time four pixels.

    Args:
        latents: width of the noise.
        width: of a token, a multiple of 8.
        doublings: of the side.
        out_channels: of the picture.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(self, latents: int, width: int, doublings: int, out_channels: int = 3) -> None:
        super().__init__()
        check.count("doublings", doublings)
        self.first = Linear(latents, 16 * width)
        self.positions = nn.ParameterList(_positions(width, 4 << place) for place in range(doublings))
        self.blocks = nn.ModuleList(TransformerBlock(width) for _ in range(doublings))
        self.grow = nn.ModuleList(_to_pixels(width, width, "none") for _ in range(doublings - 1))
        self.last = _to_pixels(width, out_channels, "layer_pixel")
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, latents: Tensor) -> Tensor:
        """The pictures."""
        h = self.first(latents).unflatten(1, (-1, 4, 4))
        for place, (block, positions) in enumerate(zip(self.blocks, self.positions, strict=True)):
            if place:
                h = self.shuffle(self.grow[place - 1](h))
            h = block(h + positions)
        return bias_act(self.shuffle(self.last(h)), activation="tanh")


class TransformerCritic(nn.Module):
    """(N, in_channels, S, S) → (N, out_features): patches as tokens, blocks, the mean token, a linear layer.

    Args:
        in_channels: of the picture.
        width: of a token, a multiple of 8.
        doublings: S = 4·2^doublings. Patches are 4x4 pixels, of pictures of 8 pixels 2x2.
        out_features: of the scores.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(self, in_channels: int, width: int, doublings: int, out_features: int = 1) -> None:
        super().__init__()
        check.count("doublings", doublings)
        patch = 4 if doublings > 1 else 2
        self.patches = ConvNormAct(
            in_channels, width, patch, stride=patch, padding=0, norm="none", activation="none"
        )
        self.positions = _positions(width, (4 << doublings) // patch)
        self.blocks = nn.Sequential(*(TransformerBlock(width) for _ in range(3)))
        self.last = Linear(width, out_features)

    def forward(self, images: Tensor) -> Tensor:
        """The scores."""
        scores: Tensor = self.last(self.blocks(self.patches(images) + self.positions).mean((2, 3)))
        return scores


def _positions(width: int, side: int) -> nn.Parameter:
    """One vector a token (Dosovitskiy et al. 2021, section 3.1)."""
    return nn.Parameter(0.02 * torch.randn(1, width, side, side))


def _to_pixels(width: int, channels: int, norm: Norm) -> ConvNormAct:
    """Four times the channels, which pixel shuffle lays out."""
    return ConvNormAct(width, 4 * channels, 1, norm=norm, activation="none")
