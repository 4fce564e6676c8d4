"""`clip_grad_norm` by PyTorch's own kernels; as PyTorch's, it multiplies by 1 where nothing has to be scaled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse_kernels.clip_grad_norm.spec import EPSILON


def clip_grad_norm(norm: Tensor, gradients: Sequence[Tensor], max_norm: float, only_finite: bool) -> None:
    """Fill `norm` and change `gradients` in place; see `spec`."""
    norms = [torch.linalg.vector_norm(g, dtype=torch.float64).to(norm.device) for g in gradients]
    norm.copy_(torch.linalg.vector_norm(torch.stack(norms)))
    if only_finite and not torch.isfinite(norm):
        return
    coefficient = (max_norm / (norm.double() + EPSILON)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(coefficient.to(gradient.device))
