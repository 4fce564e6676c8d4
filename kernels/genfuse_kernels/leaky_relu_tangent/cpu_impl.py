"""`leaky_relu_tangent` by the C++ kernel: csrc/leaky_relu_tangent."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES
from genfuse_kernels.leaky_relu_tangent.memory import are_alike


def leaky_relu_tangent(
    out: Tensor, tangent: Tensor, mask: Tensor, negative_slope: float, positive_slope: float = 1.0
) -> None:
    """Fill `out`; see `spec`. Tensors of different orders in memory, or with gaps, go through copies."""
    if not are_alike(out, tangent, mask):
        made = torch.empty(tangent.shape, dtype=tangent.dtype)
        _run(made, tangent.contiguous(), mask.contiguous(), negative_slope, positive_slope)
        out.copy_(made)
    else:
        _run(out, tangent, mask, negative_slope, positive_slope)


def _run(out: Tensor, tangent: Tensor, mask: Tensor, negative_slope: float, positive_slope: float) -> None:
    _cpu.leaky_relu_tangent(
        DTYPE_CODES[tangent.dtype],
        tangent.numel(),
        tangent.data_ptr(),
        mask.data_ptr(),
        negative_slope,
        positive_slope,
        out.data_ptr(),
        torch.get_num_threads(),
    )
