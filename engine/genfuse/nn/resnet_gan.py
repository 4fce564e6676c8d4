"""The residual generator and critic of WGAN-GP and SNGAN, any number of doublings."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from genfuse.nn.conv_norm_act import ConvNormAct
from genfuse.nn.linear import Linear
from genfuse.nn.resnet_critic_block import ResNetCriticBlock
from genfuse.nn.resnet_generator_block import ResNetGeneratorBlock
from genfuse.ops import check


class ResNetGenerator(nn.Module):
    """(N, latents) → (N, out_channels, S, S) in [-1, 1], S = 4·2^doublings.

    A linear layer to 4x4 pixels, a block a doubling, batch norm, ReLU, a 3x3 convolution and tanh (Gulrajani et al.
    2017, arXiv:1704.00028, appendix; Miyato et al. 2018, arXiv:1802.05957, table 4).

    Args:
        latents: width of the noise.
        width: channels of every block.
        doublings: blocks.
        out_channels: of the picture.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(self, latents: int, width: int, doublings: int, out_channels: int = 3) -> None:
        super().__init__()
        check.count("width", width)
        check.count("doublings", doublings)
        self.first = Linear(latents, 16 * width)
        self.blocks = nn.Sequential(*(ResNetGeneratorBlock(width, width) for _ in range(doublings)))
        self.last = ConvNormAct(width, out_channels, norm="batch", activation="relu", out_activation="tanh")

    def forward(self, latents: Tensor) -> Tensor:
        """The pictures."""
        picture: Tensor = self.last(self.blocks(self.first(latents).unflatten(1, (-1, 4, 4))))
        return picture


class ResNetCritic(nn.Module):
    """(N, in_channels, H, W) → (N, out_features), without a norm: for a gradient penalty, or spectral norm.

    Blocks that halve the picture, two that do not, ReLU, the sum over pixels, a linear layer (the same papers).

    Args:
        in_channels: of the picture.
        width: channels of every block.
        halvings: blocks that halve; one or more.
        out_features: of the scores.

    ValueError or TypeError, naming the argument, for a size that is no whole number or too small.
    """

    def __init__(self, in_channels: int, width: int, halvings: int, out_features: int = 1) -> None:
        super().__init__()
        check.count("halvings", halvings)
        sizes = (in_channels, *(width,) * (halvings + 2))
        self.blocks = nn.Sequential(
            *(
                ResNetCriticBlock(below, above, downsample=place < halvings, sees_picture=place == 0)
                for place, (below, above) in enumerate(pairwise(sizes))
            )
        )
        self.last = Linear(width, out_features)

    def forward(self, images: Tensor) -> Tensor:
        """The scores."""
        scores: Tensor = self.last(torch.relu(self.blocks(images)).sum((2, 3)))
        return scores
