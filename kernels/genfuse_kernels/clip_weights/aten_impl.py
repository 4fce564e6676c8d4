"""`clip_weights` by PyTorch's own kernel, one tensor after the other: its multi-tensor form makes two passes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def clip_weights(parameters: Sequence[Tensor], bound: float) -> None:
    """Change `parameters` in place; see `spec`."""
    for parameter in parameters:
        parameter.clamp_(-bound, bound)
