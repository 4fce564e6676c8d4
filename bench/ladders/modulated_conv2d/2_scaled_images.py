"""Scaling weights along their inputs is scaling the input, along their outputs the output: one convolution for all.

The norms are still taken of weights of each sample's own, as stylegan3's code takes them where it does not fuse.
What is to be gained: these weights, and images that are written and read for a factor each.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def modulated_conv2d(x: Tensor, weight: Tensor, styles: Tensor, noise: Tensor, bias: Tensor) -> Tensor:
    own = weight * styles[:, None, :, None, None]
    coefficients = (own.square().sum((2, 3, 4)) + 1e-8).rsqrt()
    y = F.conv2d(x * styles[:, :, None, None], weight, padding=1) * coefficients[:, :, None, None]
    return F.leaky_relu(y + noise + bias[:, None, None], 0.2) * math.sqrt(2)
