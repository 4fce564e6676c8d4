"""The layer a U-Net is made of: norm, activation, convolution, bias, shift and residual as one unit."""

from __future__ import annotations

from torch import Tensor, nn

from genfuse.ops.conv_norm_act import Settings, unit
from genfuse_kernels.conv_norm_act.settings import UnitTensors


class ConvUnit(nn.Module):
    """``conv(silu(group_norm(x))) + bias + shift + residual``.

    One call of `genfuse.ops.conv_norm_act`: normalised and activated while the convolution reads, shifted and added
    to while it writes.

    Args:
        in_channels: C of the input; divisible by ``num_groups``.
        out_channels: K of the output.
        kernel_size: odd; the padding keeps H and W.
        num_groups: groups of the normalisation.
        zero_init: start with a zero convolution, so that a residual unit begins as the identity.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        num_groups: int = 8,
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.settings = Settings(
            padding=(kernel_size // 2, kernel_size // 2),
            norm="group",
            num_groups=num_groups,
            eps=self.norm.eps,
            activation="silu",
        )
        if zero_init:
            for parameter in self.conv.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, shift: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """x (N, C, H, W) → (N, K, H, W); ``shift`` (N, K) is added per channel, ``residual`` (N, K, H, W)."""
        norm, conv = self.norm, self.conv
        tensors: UnitTensors = {
            "norm_weight": norm.weight,
            "norm_bias": norm.bias,
            "shift": shift,
            "residual": residual,
        }
        return unit(x, conv.weight, conv.bias, self.settings, tensors)[0]
