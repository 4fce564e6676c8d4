"""`spectral_norm` in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels.spectral_norm.spec import matrix, vector_sizes


def iterated(weight: Tensor, u: Tensor, v: Tensor, dim: int, steps: int, eps: float) -> tuple[Tensor, Tensor]:
    """u and v after so many steps."""
    with torch.no_grad():
        w = matrix(weight, dim)
        for _ in range(steps):
            u = F.normalize(torch.mv(w, v), dim=0, eps=eps)
            v = F.normalize(torch.mv(w.t(), u), dim=0, eps=eps)
    return u, v


def normalised(weight: Tensor, u: Tensor, v: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The weight over its norm by these vectors, differentiable in the weight, and the norm."""
    sigma = torch.dot(u, torch.mv(matrix(weight, dim), v))
    return weight / sigma, sigma


def gradient(gradient: Tensor, normalised: Tensor, sigma: Tensor, u: Tensor, v: Tensor, dim: int) -> Tensor:
    """Of the weight, from that of the normalised one."""
    moved = gradient.movedim(dim, 0)
    share = (gradient * normalised).sum() * torch.outer(u, v)
    return (gradient - share.reshape(moved.shape).movedim(0, dim)) / sigma


def split(vectors: Tensor, weights: Sequence[Tensor], dims: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Each layer's u and v in the memory that keeps them."""
    found, place = [], 0
    for weight, dim in zip(weights, dims, strict=True):
        rows, columns = vector_sizes(weight, dim)
        found.append((vectors[place : place + rows], vectors[place + rows : place + rows + columns]))
        place += rows + columns
    return found
