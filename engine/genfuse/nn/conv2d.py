"""`torch.nn.Conv2d` on genfuse's kernels."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from genfuse.nn.parts import of_part
from genfuse.ops.conv_checks import check_settings
from genfuse.ops.conv_norm_act import Settings, unit


class Conv2d(nn.Conv2d):
    """A `torch.nn.Conv2d` with the same arguments and state dict, that runs as `genfuse.ops.conv_norm_act`.

    Padding is a number or (height, width), not "same" or "valid"; padding_mode is "zeros", "reflect" or "circular".
    ValueError for others.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.padding, str):
            raise ValueError(f"padding is {self.padding!r}, expected a number or (height, width)")
        self.settings = Settings(
            stride=cast("tuple[int, int]", self.stride),
            padding=cast("tuple[int, int]", self.padding),
            dilation=cast("tuple[int, int]", self.dilation),
            groups=self.groups,
            padding_mode=cast(Any, self.padding_mode),
        )
        check_settings(self.settings)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (N, C, H, W) → (N, K, H', W'), plus `residual` like the output."""
        return unit(x, self.weight, self.bias, of_part(self.settings, self), {"residual": residual})[0]
