"""What stylegan3 computes where its own kernels are not compiled: its fallback formulae, in plain PyTorch.

Written from what they are, for the bench to compare with.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SLOPE, GAIN = 0.2, 2**0.5


def bias_act(x: Tensor, b: Tensor) -> Tensor:
    """Bias, LeakyReLU and gain, a pass each."""
    return F.leaky_relu(x + b[:, None, None], SLOPE) * GAIN


def ending(x: Tensor, scale: Tensor, noise: Tensor, b: Tensor) -> Tensor:
    """Demodulation and noise as one multiplication and addition, and `bias_act`."""
    return bias_act(torch.addcmul(noise, x, scale[:, :, None, None]), b)


def upfirdn2d(
    x: Tensor, f: Tensor, up: int, down: int, padding: tuple[int, ...], gain: float = 1.0
) -> Tensor:
    """Zeros, padding, a convolution of each channel by itself, every down-th pixel."""
    batch, channels, height, width = x.shape
    spread = F.pad(x.reshape(batch, channels, height, 1, width, 1), (0, up - 1, 0, 0, 0, up - 1))
    padded = F.pad(spread.reshape(batch, channels, height * up, width * up), padding)
    kernel = (f * gain).flip((0, 1))[None, None].expand(channels, 1, -1, -1)
    return F.conv2d(padded, kernel, groups=channels)[:, :, ::down, ::down]


def fused(x: Tensor, weight: Tensor, styles: Tensor, f: Tensor, up: int) -> Tensor:
    """Weights of each sample's own, and a convolution in as many groups as there are samples."""
    batch, channels, height, width = x.shape
    own = weight[None] * styles[:, None, :, None, None]
    own = own * (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    y = _resampled(x.reshape(1, batch * channels, height, width), own.flatten(0, 1), f, up, batch)
    return y.reshape(batch, -1, *y.shape[2:])


def unfused(x: Tensor, weight: Tensor, styles: Tensor, f: Tensor, up: int) -> Tensor:
    """Input times styles, one convolution, output times the demodulation."""
    own = weight[None] * styles[:, None, :, None, None]
    factors = (own.square().sum((2, 3, 4)) + 1e-8).rsqrt()
    y = _resampled(x * styles[:, :, None, None], weight, f, up, 1)
    return y * factors[:, :, None, None]


def _resampled(x: Tensor, weight: Tensor, f: Tensor, up: int, groups: int) -> Tensor:
    """A 3x3 convolution that keeps the size, or a transposed one with the filter behind it."""
    if up == 1:
        return F.conv2d(x, weight, padding=1, groups=groups)
    outputs, inputs, *size = weight.shape
    apart = weight.flip((2, 3)).reshape(groups, outputs // groups, inputs, *size).transpose(1, 2)
    turned = apart.reshape(groups * inputs, outputs // groups, *size)
    y = F.conv_transpose2d(x, turned, stride=up, groups=groups)
    return upfirdn2d(y, f, 1, 1, (1, 1, 1, 1), gain=up**2)
