"""`clip_grad_norm` by the C++ kernels: csrc/clip_grad_norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import columns


def clip_grad_norm(norm: Tensor, gradients: Sequence[Tensor], max_norm: float, only_finite: bool) -> None:
    """Fill `norm` and change `gradients` in place; see `spec`."""
    norm.fill_(_cpu.clip_grad_norm(columns(gradients), max_norm, only_finite, torch.get_num_threads()))
