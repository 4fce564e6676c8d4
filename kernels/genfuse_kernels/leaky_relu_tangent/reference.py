"""`leaky_relu_tangent` in plain PyTorch: the definition of the op."""

from __future__ import annotations

import torch
from torch import Tensor


def leaky_relu_tangent(
    tangent: Tensor, mask: Tensor, negative_slope: float, positive_slope: float = 1.0
) -> Tensor:
    """Like the tangent; see `spec`."""
    above = tangent if positive_slope == 1 else tangent * positive_slope
    return torch.where(mask, above, tangent * negative_slope)
