"""The contract of `norm_tangent`: of (x − mean)/√(var + eps)·weight, the derivative along a tangent of x.

    launch(out, x, tangent, weight, eps)

With x̂ = (x − mean)·r and r = 1/√(var + eps) of each of B sets of S values, means over a set:

    out = weight·r·(tangent − mean tangent − x̂·mean(x̂·tangent))

    x, tangent, out   (B, S), contiguous
    weight            (R, K), R a divisor of B and K of S: that of value s of set b is weight[b mod R, s·K // S];
                      or None: 1
                      instance norm of (N, C, M): x (N·C, M), weight (C, 1); group norm: x (N·G, C/G·M), weight
                      (G, C/G); layer norm: x (N, S), weight (1, S)
    dtypes            float32 on `cpu` and `triton`, any floating one on `aten`; all alike

`cpu_gradient` and `triton_gradient` have the gradients of x, tangent and weight from that of out; with g that, w =
g·weight and ẋ̂ what weight is a factor of:

    tangent   r·(w − mean w − x̂·mean(w·x̂))
    x         −r·(mean(x̂·tangent)·r·(w − mean w − x̂·mean(w·x̂)) + x̂·mean(w·ẋ̂) + ẋ̂·mean(w·x̂))
    weight    Σ g·ẋ̂   over all that it is a factor of
"""

from __future__ import annotations

import torch

from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32,)


def tolerance(dtype: torch.dtype) -> float:
    """Error allowed a result relative to the sum of the magnitudes of the terms that it is added up from.

    Sums are of 16 numbers a lane in `dtype` and go on in float64: as many roundings with random sign, four standard
    deviations, and those of factors and products (8).
    """
    return 24.0 * UNIT_ROUNDOFF[dtype]


def bytes_moved(values: int, itemsize: int, gradients: bool) -> int:
    """x, the tangent and the result once each, and with gradients once more, beside the gradient and that of x.

    A set is read twice; what of it no cache holds comes from memory twice, which is not counted.
    """
    return itemsize * values * (4 if gradients else 3)
