"""The contract of `leaky_relu_tangent`: the derivative of a LeakyReLU along a tangent, and its own adjoint.

    launch(out, tangent, mask, negative_slope, positive_slope=1.0)

Element by element:

    out = tangent·(positive_slope where mask, else negative_slope)

    tangent, out    any shape and strides, alike; float32 | bfloat16 | float16, any floating dtype on `aten`; out may be
                    tangent
    mask            bool, of its shape: where what was activated was positive
    negative_slope  finite; 0 of a ReLU
    positive_slope  finite; other than 1 where a gain is behind the activation, which both slopes hold

Half precision is multiplied in float32, and rounds once.
"""

from __future__ import annotations

import torch

from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def tolerance(dtype: torch.dtype) -> float:
    """Error allowed relative to the result: the slope's rounding, the product's and the result's."""
    return 2.0 * UNIT_ROUNDOFF[torch.float32] + UNIT_ROUNDOFF[dtype]


def least(dtype: torch.dtype) -> float:
    """Error allowed however small the result: half the distance of two subnormal numbers of its dtype."""
    limits = torch.finfo(dtype)
    return limits.smallest_normal * limits.eps / 2


def bytes_moved(count: int, itemsize: int) -> int:
    """The tangent is read and written once, a byte of the mask read."""
    return count * (2 * itemsize + 1)
