"""`torch.nn.Linear` on genfuse's kernels."""

from __future__ import annotations

from torch import Tensor, nn

from genfuse.ops.conv_norm_act import Settings
from genfuse.ops.linear import unit


class Linear(nn.Linear):
    """A `torch.nn.Linear` with the same arguments and state dict, that runs as `genfuse.ops.linear`.

    A row's bits depend on that row alone.
    """

    settings = Settings()

    def forward(self, input: Tensor) -> Tensor:
        """(..., C) → (..., K)."""
        return unit(input, self.weight, self.bias, self.settings)
