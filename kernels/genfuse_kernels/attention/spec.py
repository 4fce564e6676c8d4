"""The contract of `attention`.

    launch(out, q, k, v, scale)

    out = softmax(scale·q·kᵀ)·v,  the softmax over the keys          (Vaswani et al. 2017, eq. 1)

    q       (N, heads, L, D) float32 | bfloat16 | float16, any strides
    k       (N, heads, S, D) like q, S ≥ 1
    v       (N, heads, S, E) like q
    out     (N, heads, L, E) like q, its channels adjacent
    scale   a number

Scores, weights and sums are float32. On the CPU half precision is storage only; a GPU's factors are in q's dtype, the
weights too before their product with the values, and float32 is multiplied in three parts on tensor cores.
"""

from __future__ import annotations

import math

import torch

from genfuse_kernels.conv_norm_act.spec import PRODUCT_ROUNDOFF
from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def triton_limit(dtype: torch.dtype, channels: int, value_channels: int, gradients: bool) -> str | None:
    """Why the Triton kernels do not run such heads; None where they do.

    A program has all channels of its tokens' sums in registers, and float32's factors in two parts.
    """
    limit = 512 if dtype != torch.float32 else 128 if gradients else 256
    most = max(channels, value_channels)
    if most <= limit:
        return None
    return f"heads of {dtype} have {most} channels, expected at most {limit}{' in training' if gradients else ''}"


def tolerance(
    dtype: torch.dtype,
    channels: int,
    keys: int,
    magnitude: float,
    product: torch.dtype | str = torch.float32,
) -> float:
    """Error allowed relative to Σ weight·|v|, where `magnitude` is a query's largest scale·Σ|q·k|.

    A score is a sum of `channels` products, each rounded with random sign (four standard deviations), of a query
    that was scaled before (2); its error is a relative one of the weight, in numerator and denominator. The
    exponential (4) and two sums over the keys round besides. Where the factors are rounded to `product`, as a GPU's,
    a weight is off by one rounding of it more, and of float32 in parts ("tf32x3") each product by two.
    """
    compute = UNIT_ROUNDOFF[torch.float32]
    score = (4.0 * math.sqrt(channels) + 2.0) * compute * magnitude
    store = 0.0 if dtype == torch.float32 else UNIT_ROUNDOFF[dtype]
    if isinstance(product, str):
        score += 2.0 * PRODUCT_ROUNDOFF[product] * magnitude
        store += 2.0 * PRODUCT_ROUNDOFF[product]
    elif product != torch.float32:
        store += UNIT_ROUNDOFF[product]
    return 2.0 * score + (8.0 * math.sqrt(keys) + 4.0) * compute + store


def flops(batch: int, heads: int, queries: int, keys: int, channels: int, value_channels: int) -> int:
    """Multiplications and additions of both products."""
    return 2 * batch * heads * queries * keys * (channels + value_channels)


def bytes_moved(
    itemsize: int, batch: int, heads: int, queries: int, keys: int, channels: int, value_channels: int
) -> int:
    """q, k and v read once, out written once."""
    return itemsize * batch * heads * (queries + keys) * (channels + value_channels)
