"""`leaky_relu_tangent` in plain PyTorch: the definition of the op."""

from __future__ import annotations

import torch
from torch import Tensor


def leaky_relu_tangent(tangent: Tensor, mask: Tensor, negative_slope: float) -> Tensor:
    """Like the tangent; see `spec`."""
    return torch.where(mask, tangent, tangent * negative_slope)
