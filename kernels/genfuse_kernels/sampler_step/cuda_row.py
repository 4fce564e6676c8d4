"""Where a CUDA kernel finds a sample's row: csrc/sampler_step/cuda_row.h."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common.cuda_walk import addressed

ROW = np.dtype(
    [
        ("table", "u8"),
        ("table_is_double", "i8"),
        ("rows", "i8"),
        ("index", "u8"),
        ("index_stride", "i8"),
        ("row", "i8"),
    ]
)
"""The kernel's `RowArguments`."""


def row_field(table: Tensor, index: int | Tensor) -> tuple[int, int, int, int, int, int]:
    """`ROW` of a contiguous table and an int, or int64 of one or N elements."""
    rows = index if isinstance(index, Tensor) else None
    wide = int(table.dtype == torch.float64)
    return table.data_ptr(), wide, table.shape[0], *addressed(rows), 0 if isinstance(index, Tensor) else index
