"""`modulated_conv2d` in plain PyTorch: its definition (Karras et al. 2020, arXiv:1912.04958, section 2.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

EPS = 1e-8
"""Behind the sum of squares, as in the paper."""


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """(N, K): one over the norm of each output channel's weights, of weight (K, C, height, width) times styles (N, C).

    Σ over taps first: the norm is a matrix product of squares, and no weights of a sample's own are made.
    """
    return (styles.square() @ weight.square().sum((2, 3)).mT + EPS).rsqrt()


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    padding: int = 0,
    demodulate: bool = True,
    input_gain: Tensor | None = None,
) -> Tensor:
    """(N, K, H', W') by weights of each sample's own, (N·K, C, height, width), and a convolution in N groups."""
    batch, channels, height, width = x.shape
    own = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        own = own * (own.square().sum((2, 3, 4), keepdim=True) + EPS).rsqrt()
    if input_gain is not None:
        own = own * input_gain.expand(batch, channels)[:, None, :, None, None]
    y = F.conv2d(x.reshape(1, -1, height, width), own.flatten(0, 1), padding=padding, groups=batch)
    return y.reshape(batch, -1, *y.shape[2:])
