"""`leaky_relu_tangent` by the C++ kernel: csrc/leaky_relu_tangent."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES


def leaky_relu_tangent(out: Tensor, tangent: Tensor, mask: Tensor, negative_slope: float) -> None:
    """Fill `out`; see `spec`. Tensors of different orders in memory, or with gaps, go through copies."""
    if not _alike(out, tangent, mask):
        made = torch.empty(tangent.shape, dtype=tangent.dtype)
        _run(made, tangent.contiguous(), mask.contiguous(), negative_slope)
        out.copy_(made)
    else:
        _run(out, tangent, mask, negative_slope)


def _alike(*tensors: Tensor) -> bool:
    """Whether the same elements follow one another without a gap in all of them."""
    strides = {tensor.stride() for tensor in tensors}
    return len(strides) == 1 and tensors[0].stride() == torch.empty_like(tensors[0], device="meta").stride()


def _run(out: Tensor, tangent: Tensor, mask: Tensor, negative_slope: float) -> None:
    _cpu.leaky_relu_tangent(
        DTYPE_CODES[tangent.dtype],
        tangent.numel(),
        tangent.data_ptr(),
        mask.data_ptr(),
        negative_slope,
        out.data_ptr(),
        torch.get_num_threads(),
    )
