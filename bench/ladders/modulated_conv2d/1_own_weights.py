"""The paper's figure: weights of each sample's own, modulated and demodulated, and a convolution in N groups.

What is to be gained: N copies of the weights, written and read again; one transform of the weights for all samples.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def modulated_conv2d(x: Tensor, weight: Tensor, styles: Tensor, noise: Tensor, bias: Tensor) -> Tensor:
    own = weight * styles[:, None, :, None, None]
    own = own * (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), own.flatten(0, 1), padding=1, groups=len(x))
    return F.leaky_relu(y.reshape(x.shape) + noise + bias[:, None, None], 0.2) * math.sqrt(2)
