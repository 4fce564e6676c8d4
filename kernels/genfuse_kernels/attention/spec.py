"""The contract of `attention`.

    launch(out, q, k, v, scale)

    out = softmax(scale·q·kᵀ)·v,  the softmax over the keys          (Vaswani et al. 2017, eq. 1)

    q       (N, heads, L, D) float32 | bfloat16 | float16, any strides
    k       (N, heads, S, D) like q, S ≥ 1
    v       (N, heads, S, E) like q
    out     (N, heads, L, E) like q, its channels adjacent
    scale   a number

Half precision is storage only: scores, weights and sums are float32.
"""

from __future__ import annotations

import math

import torch

from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def tolerance(dtype: torch.dtype, channels: int, keys: int, magnitude: float) -> float:
    """Error allowed relative to Σ weight·|v|, where `magnitude` is a query's largest scale·Σ|q·k|.

    A score is a sum of `channels` products, each rounded with random sign (four standard deviations), of a query
    that was scaled before (2); its error is a relative one of the weight, in numerator and denominator. The
    exponential (4) and two sums over the keys round besides.
    """
    compute = UNIT_ROUNDOFF[torch.float32]
    score = (4.0 * math.sqrt(channels) + 2.0) * compute * magnitude
    store = 0.0 if dtype == torch.float32 else UNIT_ROUNDOFF[dtype]
    return 2.0 * score + (8.0 * math.sqrt(keys) + 4.0) * compute + store


def flops(batch: int, heads: int, queries: int, keys: int, channels: int, value_channels: int) -> int:
    """Multiplications and additions of both products."""
    return 2 * batch * heads * queries * keys * (channels + value_channels)


def bytes_moved(
    itemsize: int, batch: int, heads: int, queries: int, keys: int, channels: int, value_channels: int
) -> int:
    """q, k and v read once, out written once."""
    return itemsize * batch * heads * (queries + keys) * (channels + value_channels)
