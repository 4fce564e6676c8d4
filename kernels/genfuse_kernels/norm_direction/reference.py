"""`norm_direction` in plain PyTorch: the definition of the op."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def norm_direction(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) and a tensor of x's shape; see `spec`."""
    wide = x if x.dtype == torch.float64 else x.float()
    rows = wide.reshape(wide.shape[0], math.prod(wide.shape[1:]))
    largest = rows.detach().abs().amax(1, keepdim=True) if rows.shape[1] else rows.new_zeros(rows.shape[0], 1)
    scaled = rows / torch.where(largest > 0, largest, 1)
    length = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    direction = scaled / torch.where(length == 0, 1, length)
    return (largest * length)[:, 0], direction.reshape(x.shape)
