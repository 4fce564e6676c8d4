"""The contract of `norm_stats`, the statistics that `conv_norm_act` and `norm_act` otherwise take for themselves.

    launch(out, x)

    out[n, c] = mean and biased variance of x[n, c] over space

    x     (N, C, H, W) float32 | bfloat16 | float16; planar or channels last, other strides are copied
    out   (N, C, 2) float32, contiguous

Rows are summed about their first pixel and merged (Chan, Golub & LeVeque 1979), so that a mean far larger than the
deviation cancels nothing.
"""

from __future__ import annotations

import math

import torch

from genfuse_kernels.conv_norm_act.spec import DTYPES
from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

__all__ = ["DTYPES", "bytes_moved", "tolerance"]


def tolerance(height: int, width: int) -> float:
    """Error allowed of the mean relative to |mean| plus deviation, and of the variance relative to itself.

    A row is one running sum, rows merge one after another: width + height roundings of random sign, four standard
    deviations, and a few more (8) at the end.
    """
    return (4.0 * math.sqrt(height + width) + 8.0) * UNIT_ROUNDOFF[torch.float32]


def bytes_moved(numel: int, itemsize: int) -> int:
    """x once; what is written is nothing beside it."""
    return numel * itemsize
