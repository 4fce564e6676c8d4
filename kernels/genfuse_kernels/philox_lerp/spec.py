"""The contract of `philox_lerp`: points between two batches, as gradient penalties take them (Gulrajani et al. 2017).

    launch(out, start, end, seed, first)

    key     = (low, high) 32-bit halves of seed
    counter = (0, 0, first + n, STREAM_INTERPOLATION)            of sample n
    u[n]    = ((w >> 9) + 0.5)·2⁻²³ of the first word w          (Salmon et al., SC11, 10 rounds; see philox_normal)
    out[n]  = (1 − u[n])·start[n] + u[n]·end[n]                  an absent one adds nothing

u and 1 − u have 24 bits and are exact in float32, so neither is rounded, in half precision too. No difference is taken,
so nothing overflows between huge numbers of opposite sign. With one of them absent it is the op's own adjoint: of the
result's gradient it makes the other's.

    start, end   (N, ...) float32 | float64 | bfloat16 | float16, alike, any strides; one of them may be absent
    out          like them, any strides without overlap; it may be start or end
    seed         int in [0, 2⁶³)
    first        int, number of the first sample; first + N at most 2³²

Half precision is combined in float32, and rounds once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

MOST_SAMPLES = 2**32
"""The counter's word for the sample has 32 bits."""


def allowed(parts: Tensor, out: Tensor, dtype: torch.dtype) -> Tensor:
    """What each element may be off by: two products and their sum round, and the result where it is stored.

    parts  |(1 − u)·start| + |u·end|, float64, like out
    """
    compute = UNIT_ROUNDOFF[torch.float64 if dtype == torch.float64 else torch.float32]
    limits = torch.finfo(dtype)
    subnormal = limits.smallest_normal * limits.eps
    return 2 * compute * parts + UNIT_ROUNDOFF[dtype] * out.abs() + subnormal


def bytes_moved(numel: int, itemsize: int, sources: int = 2) -> int:
    """Start and end are read once each, where they are, and the result is written once."""
    return numel * itemsize * (sources + 1)
