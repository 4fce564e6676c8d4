"""`clip_grad_norm` by its definition, as a launcher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse_kernels.clip_grad_norm import reference


def clip_grad_norm(norm: Tensor, gradients: Sequence[Tensor], max_norm: float, only_finite: bool) -> None:
    """Fill `norm` and change `gradients` in place; see `spec`."""
    wide = [gradient.double().to(norm.device) for gradient in gradients]
    total, scaled = reference.clip_grad_norm(wide, max_norm)
    norm.copy_(total)
    if only_finite and not torch.isfinite(norm):
        return
    for gradient, value in zip(gradients, scaled, strict=True):
        gradient.copy_(value)
