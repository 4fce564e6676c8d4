"""The contract of `norm_stats`, the statistics that `conv_norm_act` and `norm_act` otherwise take for themselves.

    launch(out, x)

    out[n, c] = mean and biased variance of x[n, c] over space

    x     (N, C, H, W) float32 | bfloat16 | float16; planar or channels last, other strides are copied
    out   (N, C, 2) float32, contiguous

Pieces of PIECE pixels are summed about one of their own and merged in double (Chan, Golub & LeVeque 1979), so that a
mean far larger than the deviation cancels nothing, and a row may be as long as a sequence.
"""

from __future__ import annotations

import math

import torch

from genfuse_kernels.conv_norm_act.spec import DTYPES
from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

__all__ = ["DTYPES", "PIECE", "bytes_moved", "tolerance"]


PIECE = 64
"""Pixels that are one running sum in float32; such pieces merge in double."""


def tolerance(pixels: int) -> float:
    """Error allowed of the mean relative to |mean| plus deviation, and of the variance relative to itself.

    A piece of the pixels rounds as often as it has pixels, with random sign, four standard deviations, and a few times
    more (8); however many pieces there are.
    """
    return (4.0 * math.sqrt(min(pixels, PIECE)) + 8.0) * UNIT_ROUNDOFF[torch.float32]


def bytes_moved(numel: int, itemsize: int) -> int:
    """x once; what is written is nothing beside it."""
    return numel * itemsize
