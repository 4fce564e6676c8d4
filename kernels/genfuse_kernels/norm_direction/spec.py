"""The contract of `norm_direction`: the 2-norm of each sample, and its direction.

    launch(norms, direction, x)

    norms[i] = √Σ x[i]²;  direction[i] = x[i]/norms[i], 0 where that is 0

    x          (N, ...), any strides; float32 | bfloat16 | float16, any floating dtype on `aten`
    norms      (N,) float32, float64 where x is
    direction  like x, dense, in the norms' dtype

Squares are of the sample times a power of two that brings its largest element to 1 to 2: none overflows, and none that
counts vanishes. Where a sample holds NaN its norm and direction are NaN.
"""

from __future__ import annotations

import torch

from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def tolerance() -> float:
    """Relative error allowed a norm and each element of a direction.

    Squares are summed 16 a lane in float32, then in float64: that many roundings with random sign, half of them in the
    root, four standard deviations; factors and the product round three times.
    """
    return 11.0 * UNIT_ROUNDOFF[torch.float32]


def bytes_moved(values: int, itemsize: int) -> int:
    """x once, from the cache where it is read again, and the direction."""
    return values * (itemsize + 4)
