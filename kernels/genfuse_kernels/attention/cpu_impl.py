"""`attention` by the C++ kernel: csrc/attention."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES


def attention(out: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float) -> None:
    """Fill `out`; see `spec`. Shapes, dtypes and devices are the caller's to check."""
    n, heads, queries, channels = q.shape
    sizes = (n, heads, queries, k.shape[2], channels, v.shape[3])
    of_q, of_k, of_v, of_out = ((tensor.data_ptr(), tensor.stride()) for tensor in (q, k, v, out))
    _cpu.attention(DTYPE_CODES[q.dtype], sizes, scale, of_q, of_k, of_v, of_out, torch.get_num_threads())
