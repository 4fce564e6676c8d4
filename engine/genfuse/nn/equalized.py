"""Layers of equalised learning rate: weights are drawn from N(0, 1) and scaled where they are used."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from genfuse.nn.conv2d import Conv2d
from genfuse.nn.linear import Linear
from genfuse.nn.parts import of_part
from genfuse.ops import check
from genfuse.ops.conv_norm_act import unit as convolve
from genfuse.ops.linear import unit as multiply


class EqualizedLinear(Linear):
    """A `Linear` whose weight is used times lr_multiplier/√in_features (Karras et al. 2018, section 4.1).

    lr_multiplier  weights and biases are kept over it and used times it, so that an optimiser moves them by that share
                   (0.01 in a mapping network)
    bias_init      what the bias is worth at the start

    Other arguments are `torch.nn.Linear`'s. An optimiser that goes by gradients' sizes (Adam) then changes each layer's
    weights by the same share.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *args: Any,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
        **kwargs: Any,
    ) -> None:
        _check(lr_multiplier, bias_init)
        self._start = (lr_multiplier, bias_init)
        super().__init__(in_features, out_features, *args, **kwargs)
        self.lr_multiplier = lr_multiplier

    def reset_parameters(self) -> None:
        """Weights from N(0, 1), over lr_multiplier; biases at bias_init."""
        _draw(self)

    def forward(self, input: Tensor) -> Tensor:
        """(..., C) → (..., K)."""
        weight, bias = _used(self)
        return multiply(input, weight, bias, self.settings)

    def extra_repr(self) -> str:
        """As `torch.nn` shows it."""
        return f"{super().extra_repr()}, lr_multiplier={self.lr_multiplier}"


class EqualizedConv2d(Conv2d):
    """A `Conv2d` whose weight is used times lr_multiplier/√(in_channels/groups · kernel height · width).

    lr_multiplier, bias_init   as `EqualizedLinear`; other arguments are `Conv2d`'s
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *args: Any,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
        **kwargs: Any,
    ) -> None:
        _check(lr_multiplier, bias_init)
        self._start = (lr_multiplier, bias_init)
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)
        self.lr_multiplier = lr_multiplier

    def reset_parameters(self) -> None:
        """Weights from N(0, 1), over lr_multiplier; biases at bias_init."""
        _draw(self)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (N, C, H, W) → (N, K, H', W'), plus `residual` like the output."""
        tensors: Any = {"residual": residual}
        weight, bias = _used(self)
        return convolve(x, weight, bias, of_part(self.settings, self), tensors)[0]

    def extra_repr(self) -> str:
        """As `torch.nn` shows it."""
        shown: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{shown}, lr_multiplier={self.lr_multiplier}"


def _check(lr_multiplier: float, bias_init: float) -> None:
    check.finite("lr_multiplier", lr_multiplier)
    check.finite("bias_init", bias_init)
    if lr_multiplier <= 0:
        raise ValueError(f"lr_multiplier is {lr_multiplier}, expected more than 0")


def _draw(layer: EqualizedLinear | EqualizedConv2d) -> None:
    lr_multiplier, bias_init = layer._start
    nn.init.normal_(layer.weight, std=1 / lr_multiplier)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias_init / lr_multiplier)


def _used(layer: EqualizedLinear | EqualizedConv2d) -> tuple[Tensor, Tensor | None]:
    """Weight and bias as the layer uses them."""
    weight, bias, share = layer.weight, layer.bias, layer.lr_multiplier
    scale = share / math.sqrt(weight[0].numel())
    return weight * scale, bias if bias is None or share == 1 else bias * share
