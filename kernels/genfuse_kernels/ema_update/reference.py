"""`ema_update` of one tensor in plain PyTorch."""

from __future__ import annotations

from torch import Tensor


def ema_update(average: Tensor, parameter: Tensor, decay: float) -> Tensor:
    """The new average; see `spec`."""
    return average * decay + parameter * (1 - decay)
