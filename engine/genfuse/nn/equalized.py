"""Layers of equalised learning rate: weights are drawn from N(0, 1) and scaled where they are used."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from genfuse.nn.conv2d import Conv2d
from genfuse.nn.linear import Linear
from genfuse.nn.parts import of_part
from genfuse.ops.conv_norm_act import unit as convolve
from genfuse.ops.linear import unit as multiply


class EqualizedLinear(Linear):
    """A `Linear` whose weight is used times 1/√in_features (Karras et al. 2018, section 4.1); its bias starts at 0.

    An optimiser that goes by gradients' sizes (Adam) then changes each layer's weights by the same share.
    """

    def reset_parameters(self) -> None:
        """Weights from N(0, 1), biases 0."""
        _draw(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(..., C) → (..., K)."""
        return multiply(input, self.weight * _scale(self.weight), self.bias, self.settings)


class EqualizedConv2d(Conv2d):
    """A `Conv2d` whose weight is used times 1/√(in_channels/groups · kernel height · width); its bias starts at 0."""

    def reset_parameters(self) -> None:
        """Weights from N(0, 1), biases 0."""
        _draw(self.weight, self.bias)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (N, C, H, W) → (N, K, H', W'), plus `residual` like the output."""
        tensors: Any = {"residual": residual}
        weight = self.weight * _scale(self.weight)
        return convolve(x, weight, self.bias, of_part(self.settings, self), tensors)[0]


def _draw(weight: Tensor, bias: Tensor | None) -> None:
    torch.nn.init.normal_(weight)
    if bias is not None:
        torch.nn.init.zeros_(bias)


def _scale(weight: Tensor) -> float:
    return 1 / math.sqrt(weight[0].numel())
