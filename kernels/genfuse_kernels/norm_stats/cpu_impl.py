"""`norm_stats` by the C++ kernels: csrc/conv_norm_act/statistics.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES
from genfuse_kernels.conv_norm_act.cpu_impl import image, readable


def norm_stats(out: Tensor, x: Tensor) -> None:
    """Fill `out`; see `spec`. Shapes, dtypes and devices are the caller's to check."""
    x = readable(x)
    batch, _, height, width = x.shape
    _cpu.norm_stats(
        DTYPE_CODES[x.dtype], torch.get_num_threads(), batch, height, width, image(x), out.data_ptr()
    )
