"""`clip_grad_norm` in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse_kernels.clip_grad_norm.spec import EPSILON


def clip_grad_norm(gradients: Sequence[Tensor], max_norm: float) -> tuple[Tensor, list[Tensor]]:
    """The norm of all gradients together, at least one, and the scaled gradients; see `spec`."""
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    coefficient = (max_norm / (norm + EPSILON)).clamp(max=1.0)
    return norm, [gradient * coefficient for gradient in gradients]
