"""`norm_direction` by the C++ kernel: csrc/norm_direction."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES


def norm_direction(norms: Tensor, direction: Tensor, x: Tensor) -> None:
    """Fill `norms` and `direction`; see `spec`. Samples with gaps, or in another order than direction, are copied."""
    one_by_one = x.shape[0] < 2 or x.stride(0) == math.prod(x.shape[1:])
    if x.stride() != direction.stride() or not one_by_one:
        x, made = x.contiguous(), torch.empty(x.shape, dtype=direction.dtype)
    else:
        made = direction
    _cpu.norm_direction(
        DTYPE_CODES[x.dtype],
        x.shape[0],
        math.prod(x.shape[1:]),
        x.data_ptr(),
        norms.data_ptr(),
        made.data_ptr(),
        torch.get_num_threads(),
    )
    if made is not direction:
        direction.copy_(made)
