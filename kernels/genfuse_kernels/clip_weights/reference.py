"""`clip_weights` of one tensor in plain PyTorch."""

from __future__ import annotations

from torch import Tensor


def clip_weights(parameter: Tensor, bound: float) -> Tensor:
    """The new parameter; see `spec`."""
    return parameter.clamp(-bound, bound)
