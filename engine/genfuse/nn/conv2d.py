"""`torch.nn.Conv2d` on genfuse's kernels."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from genfuse.nn.parts import of_part
from genfuse.ops import check
from genfuse.ops.conv_checks import check_settings
from genfuse.ops.conv_geometry import pair
from genfuse.ops.conv_norm_act import Settings, unit


class Conv2d(nn.Conv2d):
    """A `torch.nn.Conv2d` with the same arguments and state dict, that runs as `genfuse.ops.conv_norm_act`.

    Padding is a number or (height, width), not "same" or "valid"; padding_mode is "zeros", "reflect" or "circular".
    ValueError or TypeError for others, and for sizes that are not 1 or more.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        check.count("in_channels", in_channels)
        check.count("out_channels", out_channels)
        check.counts("kernel_size", pair("kernel_size", kernel_size, 2))
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)
        if isinstance(self.padding, str):
            raise ValueError(f"padding is {self.padding!r}, expected a number or (height, width)")
        self.settings = Settings(
            stride=pair("stride", self.stride, 2),
            padding=pair("padding", self.padding, 2),
            dilation=pair("dilation", self.dilation, 2),
            groups=self.groups,
            padding_mode=cast(Any, self.padding_mode),
        )
        check_settings(self.settings)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (N, C, H, W) → (N, K, H', W'), plus `residual` like the output."""
        return unit(x, self.weight, self.bias, of_part(self.settings, self), {"residual": residual})[0]
