"""The contract of `sampler_reduce`: two numbers a sample, read by `sampler_step` as `scales`.

    launch(scales, x, model_output, table, index, *, uncond)

    scales[n, 0] = φ·std(model_output[n])/std(m[n]) + 1 − φ     φ = r.rescale ≠ 0 and uncond given
                 = 1                                             otherwise
    scales[n, 1] = clamp(quantile(|x0[n]|, r.quantile), 1, r.threshold_max)     r.quantile ≠ 0
                 = inf                                                          otherwise

with r = table[index] (or table[index[n]]), m and x0 as in `sampler_step` (x0 before clipping, from the
rescaled m), std the unbiased standard deviation over a sample (Lin et al. 2023, eq. 15), and the quantile
interpolated linearly between order statistics as `torch.quantile` does (Saharia et al. 2022, section 2.3),
NaN where any |x0| of the sample is.
A constant guided output (std 0) gives factor 1 − φ + φ·inf: a ValueError on the CPU is not worth a pass, so
the factor is defined as 1 there. Constant means that m[n] as computed has equal elements: kernels sum
deviations from an element of it, which are then exactly 0, in any dtype, however the mean would be rounded.

    scales   (N, 2) float32, float64 where x is; the rest as in `sampler_step`
"""

from __future__ import annotations

import math

import torch

from genfuse_kernels.sampler_step.spec import DTYPES, UNIT_ROUNDOFF

__all__ = ["DTYPES", "bytes_moved", "tolerance"]


def tolerance(dtype: torch.dtype, numel: int) -> float:
    """Relative error of either number against the float64 reference.

    Sums run in blocks of at most 4096 elements merged pairwise (Chan), so the error grows with the block,
    not with the sample: 4096 roundings, of random sign, and three for the quotient.
    """
    compute = UNIT_ROUNDOFF[dtype if dtype == torch.float64 else torch.float32]
    return 16.0 * compute * math.sqrt(min(numel, 4096)) + 8 * compute


def bytes_moved(numel: int, itemsize: int, passes: int) -> int:
    """x and the model outputs, once a pass."""
    return numel * itemsize * passes
