"""Mean and variance of rows whose parts CUDA blocks have found: csrc/fold_moments/cuda.cu."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_launch import launch
from genfuse_kernels.common.cuda_tile import THREADS

ARGUMENTS = np.dtype([("stats", "u8"), ("moments", "u8"), ("parts", "i8"), ("rows", "i8")])
"""The kernel's `FoldMomentsArguments`."""

_ROWS = 8
"""Of a block."""


def room_for_parts(parts: int, rows: int, device: torch.device) -> Tensor:
    """Where the parts of rows meet: (3, parts, rows) float64, count, mean and squared deviations."""
    return torch.empty((3, parts, rows), dtype=torch.float64, device=device)


def fold_moments(stats: Tensor, moments: Tensor) -> None:
    """Fill `stats` (..., 2) float32, contiguous, from `room_for_parts`'s, in the parts' order."""
    _, parts, rows = moments.shape
    arguments = np.array((stats.data_ptr(), moments.data_ptr(), parts, rows), dtype=ARGUMENTS)
    kernel = Kernel("fold_moments", torch.float32, "planes", False)
    launch(kernel, -(-rows // _ROWS), arguments, stats.device, THREADS)
