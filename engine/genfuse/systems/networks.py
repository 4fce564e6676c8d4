"""The plain generators and critics that adversarial systems are made of, by name."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from genfuse.nn import (
    MLP,
    DCGANCritic,
    DCGANGenerator,
    ResNetCritic,
    ResNetGenerator,
    TransformerCritic,
    TransformerGenerator,
)
from genfuse.nn.activation import Activation
from genfuse_kernels.conv_norm_act.settings import Norm

Network = Literal["mlp", "cnn", "resnet", "transformer"]
"""A perceptron of three hidden layers; DCGAN's convolutions; the residual networks of WGAN-GP and SNGAN; attention."""


def generator(network: Network, inputs: int, shape: tuple[int, ...], width: int) -> nn.Module:
    """(N, inputs) → (N, *shape): pictures in [-1, 1], or points.

    Args:
        network: which.
        inputs: width of the latents, and of what stands beside them.
        shape: of a sample; ValueError for one that the network does not make.
        width: of hidden layers, or of tokens; of a CNN's finest resolution, doubled at each coarser one.
    """
    if network == "mlp":
        values = MLP((inputs, *(width,) * 3, math.prod(shape)))
        return (
            values if len(shape) == 1 else nn.Sequential(values, Activation("tanh"), nn.Unflatten(1, shape))
        )
    doublings = doublings_of(network, shape)
    if network == "resnet":
        return ResNetGenerator(inputs, width, doublings, shape[0])
    if network == "transformer":
        return TransformerGenerator(inputs, width, doublings, shape[0])
    channels = tuple(width << place for place in reversed(range(doublings)))
    return nn.Sequential(nn.Unflatten(1, (inputs, 1, 1)), DCGANGenerator(inputs, channels, shape[0]))


def critic(
    network: Network,
    shape: tuple[int, ...],
    width: int,
    *,
    norm: Norm = "none",
    dropout: float = 0.0,
    outputs: int = 1,
) -> nn.Module:
    """(N, *shape) → scores (N,), or (N, outputs) where these are more than one.

    Args:
        network: which.
        shape: of a sample; ValueError for one that the network does not take.
        width: as the generator's.
        norm: between a CNN's convolutions.
        dropout: of a perceptron's hidden layers.
        outputs: of a sample.
    """
    scores = nn.Flatten(0) if outputs == 1 else nn.Identity()
    if network == "mlp":
        sizes = (math.prod(shape), *(width,) * 3, outputs)
        return nn.Sequential(nn.Flatten(), MLP(sizes, dropout=dropout), scores)
    halvings = doublings_of(network, shape)
    if network == "resnet":
        return nn.Sequential(ResNetCritic(shape[0], width, halvings, outputs), scores)
    if network == "transformer":
        return nn.Sequential(TransformerCritic(shape[0], width, halvings, outputs), scores)
    channels = tuple(width << place for place in range(halvings))
    return DCGANCritic(shape[0], channels, norm=norm, out_features=outputs)


def doublings_of(network: str, shape: tuple[int, ...]) -> int:
    """How many of 4 pixels make a picture's side. ValueError for one that is no square of 4·2ⁿ pixels, n at least 1."""
    side = shape[-1]
    doublings = (side // 4).bit_length() - 1
    if len(shape) != 3 or shape[1] != side or doublings < 1 or side != 4 << doublings:
        expected = "squares of 8, 16, 32, ... pixels; 'mlp' takes any"
        raise ValueError(f"samples have shape {shape}, network {network!r} makes {expected}")
    return doublings
