"""`torch.nn.Linear` on genfuse's kernels."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from genfuse.ops import check
from genfuse.ops.conv_norm_act import Settings
from genfuse.ops.linear import unit


class Linear(nn.Linear):
    """A `torch.nn.Linear` with the same arguments and state dict, that runs as `genfuse.ops.linear`.

    A row's bits depend on that row alone. ValueError or TypeError for sizes that are not 1 or more.
    """

    settings = Settings()

    def __init__(self, in_features: int, out_features: int, *args: Any, **kwargs: Any) -> None:
        check.count("in_features", in_features)
        check.count("out_features", out_features)
        super().__init__(in_features, out_features, *args, **kwargs)

    def forward(self, input: Tensor) -> Tensor:
        """(..., C) → (..., K)."""
        return unit(input, self.weight, self.bias, self.settings)
