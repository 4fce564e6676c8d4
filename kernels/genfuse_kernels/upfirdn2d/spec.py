"""The contract of `upfirdn2d` (Karras et al. 2020, https://arxiv.org/abs/1912.04958; names and order are stylegan3's).

    launch(out, x, f, up, down, padding, flip_filter, gain)

1. behind each pixel of x stand up − 1 zeros, along each axis;
2. padding (left, right, top, bottom) adds zeros, a negative one cuts off;
3. the result is convolved with gain·f, without padding: f is turned over, unless flip_filter;
4. every down-th pixel is kept, from the first on.

    x    (N, C, H, W) float32 | float64 | bfloat16 | float16; planar or channels last, other strides are copied
    f    (height, width), or (taps,) for the outer product of f with itself, floating
    up, down   (x, y), 1 or more
    out  (N, C, H', W') like x, planar or channels last; `out_size` gives H' and W'

Sums are float32, of float64 in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def filter_size(f: Tensor) -> tuple[int, int]:
    """(height, width)."""
    return f.shape[0], f.shape[-1]


def out_size(
    size: Sequence[int],
    filter_size: Sequence[int],
    up: Sequence[int],
    down: Sequence[int],
    padding: Sequence[int],
) -> tuple[int, int]:
    """(H', W') of a picture of size (H, W); not positive where the filter does not fit."""
    left, right, top, bottom = padding
    height = (size[0] * up[1] + top + bottom - filter_size[0]) // down[1] + 1
    width = (size[1] * up[0] + left + right - filter_size[1]) // down[0] + 1
    return height, width


def tolerance(dtype: torch.dtype, taps: int) -> float:
    """Error allowed relative to the same sum of absolute values, beside a step of the dtype's subnormal numbers.

    taps   factors of f; those along x and along y, added, where it has one axis

    Each product and addition of the sum rounds once; factors, and rows that were filtered along x, once more (4); the
    result once to its dtype.
    """
    arithmetic = UNIT_ROUNDOFF[torch.float64 if dtype == torch.float64 else torch.float32]
    return (taps + 4) * arithmetic + UNIT_ROUNDOFF[dtype]


def bytes_moved(numel: int, out_numel: int, itemsize: int) -> int:
    """x once, out once."""
    return (numel + out_numel) * itemsize
