"""A convolution whose weights a style scales."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genfuse.nn.blur import low_pass
from genfuse.nn.equalized import EqualizedLinear
from genfuse.ops import check
from genfuse.ops.modulated_conv2d import modulated_conv2d
from genfuse_kernels.bias_act.spec import Activation


class ModulatedConv2d(nn.Module):
    """StyleGAN2's convolution (Karras et al. 2020, section 2.2), on `genfuse.ops.modulated_conv2d`.

    in_channels, out_channels   C and K
    kernel_size   odd: the picture keeps its size but for up and down
    style_dim     of the styles w, of which `affine`, an `EqualizedLinear`, makes the factor of each input channel, 1 at
                  the start
    up, down      1, or how much larger or smaller, through a low-pass filter of `taps`
    demodulate    divide each output channel by the norm of its modulated weights; without, weights are used times
                  1/√(C·kernel_size²)
    bias          whether there is one a channel, 0 at the start
    activation, gain, clamp   behind the bias, as `genfuse.ops.bias_act`; LeakyReLU's slope is 0.2

    ValueError or TypeError, naming the argument, for numbers that are not.
    """

    filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        style_dim: int,
        *,
        up: int = 1,
        down: int = 1,
        demodulate: bool = True,
        bias: bool = False,
        activation: Activation = "none",
        gain: float = 1.0,
        clamp: float | None = None,
        taps: Sequence[float] = (1, 3, 3, 1),
    ) -> None:
        for name, size in (
            ("in_channels", in_channels),
            ("out_channels", out_channels),
            ("kernel_size", kernel_size),
            ("style_dim", style_dim),
            ("up", up),
            ("down", down),
        ):
            check.count(name, size)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}, expected an odd number")
        check.flag("demodulate", demodulate)
        check.flag("bias", bias)
        super().__init__()
        self.up, self.down, self.demodulate = up, down, demodulate
        self.activation, self.gain, self.clamp = activation, gain, clamp
        self.affine = EqualizedLinear(style_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.register_buffer("filter", low_pass(taps, max(up, down)), persistent=False)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """x (N, C, H, W) and w (N, style_dim) → (N, K, H·up/down, W·up/down); noise (N or 1, 1, ...) of its size."""
        styles = self.affine(w)
        if not self.demodulate:
            styles = styles / math.sqrt(self.weight[0].numel())
        return modulated_conv2d(
            x,
            self.weight,
            styles,
            up=self.up,
            down=self.down,
            padding=self.weight.shape[-1] // 2,
            resample_filter=self.filter if max(self.up, self.down) > 1 else None,
            demodulate=self.demodulate,
            noise=noise,
            bias=self.bias,
            activation=self.activation,
            gain=self.gain,
            clamp=self.clamp,
        )

    def extra_repr(self) -> str:
        """As `torch.nn` shows it."""
        outputs, inputs, size, _ = self.weight.shape
        return f"{inputs}, {outputs}, {size}, up={self.up}, down={self.down}, demodulate={self.demodulate}"
