"""The norms are a product of matrices: squared styles by the squared weights' sums over taps.

What is to be gained: x times styles is written and read once more, and demodulation, noise, bias, activation and gain
are a pass each. genfuse's own scales x where the convolution reads it, and does the rest in one pass.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def modulated_conv2d(x: Tensor, weight: Tensor, styles: Tensor, noise: Tensor, bias: Tensor) -> Tensor:
    coefficients = (styles.square() @ weight.square().sum((2, 3)).mT + 1e-8).rsqrt()
    y = F.conv2d(x * styles[:, :, None, None], weight, padding=1) * coefficients[:, :, None, None]
    return F.leaky_relu(y + noise + bias[:, None, None], 0.2) * math.sqrt(2)
