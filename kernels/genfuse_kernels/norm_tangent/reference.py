"""`norm_tangent` in plain PyTorch: the definition of the op."""

from __future__ import annotations

import torch
from torch import Tensor


def norm_tangent(x: Tensor, tangent: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """(B, S); see `spec`. Differentiable in all three."""
    centred = x - x.mean(1, keepdim=True)
    r = torch.rsqrt(centred.square().mean(1, keepdim=True) + eps)
    normal = centred * r
    moved = tangent - tangent.mean(1, keepdim=True)
    y = r * (moved - normal * (normal * tangent).mean(1, keepdim=True))
    return y if weight is None else weighted(y, weight)


def weighted(y: Tensor, weight: Tensor) -> Tensor:
    """(B, S) times (R, K)."""
    rows, columns = weight.shape
    product = y.reshape(-1, rows, columns, y.shape[1] // columns) * weight[:, :, None]
    return product.reshape(y.shape)
