"""The contract of `conv_norm_act`, a convolution with what stands before and behind it.

    launch(out, stats_out, x, weight, bias, settings, *, skip, norm_weight, norm_bias, running_mean, running_var,
           stats, film_scale, film_shift, shift, residual)

With s = settings (`settings.Settings`) and h = x, or x and skip along the channels:

    h   = (h − mean)/√(var + s.eps)·norm_weight + norm_bias      s.norm says over what; weight, bias (C,) or (N, C)
    h   = h·(1 + film_scale) + film_shift                        (N, C), where given
    h   = s.activation(h), each pixel repeated s.upsample times along both axes
    y   = convolution(h, weight) + bias                          as torch.nn.functional.conv2d, conv_transpose2d
    out = s.out_activation((y + shift + residual)·s.scale)       shift (N, K)
    out = the mean of each s.pool x s.pool pixels of it          the last odd row or column is dropped
    stats_out = mean and biased variance over space of out, (N, K, 2), before out is rounded to its dtype

A border of zeros is put around h, behind norm and activation. `stats`, (N, C, 2) like stats_out of the unit that
made x, saves the pass over x that the norm would need.

    x            (N, C, H, W) float32 | bfloat16 | float16; planar or channels last, other strides are copied
    skip         (N, C', H, W) like x;  residual, out  (N, K, H', W') like x
    weight       (K, (C + C')/groups, kernel), transposed (C + C', K/groups, kernel); all parameters in x's dtype or
                 float32
    stats        float32

Half precision is storage only: arithmetic is float32, sums over channels and taps too.

Winograd's F(4x4, 3x3) (Lavin & Gray 2016, arXiv:1509.09308) runs stride-1 3x3 convolutions and the phases of
stride-2 transposed ones, unless s.accuracy is "exact", or None and x in half precision.
"""

from __future__ import annotations

import math

import torch

from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

WINOGRAD_GROWTH = 3.0
"""How much larger Winograd's error may be than one running sum's, both relative to the largest sum of magnitudes
under a tile. Measured on normal data of 16 to 512 channels: 1.2 to 1.8 times the largest error of such a sum."""


def tolerance(dtype: torch.dtype, reduction: int, winograd: bool) -> float:
    """Error allowed relative to the sum of magnitudes, Σ|h·weight| + |bias| + |shift| + |residual|.

    A sum of `reduction` float32 products rounds `reduction` times with random sign; four standard deviations.
    Norm and activation round a few times more (8). The result rounds once to its dtype.
    """
    compute = UNIT_ROUNDOFF[torch.float32]
    summed = 4.0 * math.sqrt(reduction) * compute * (WINOGRAD_GROWTH if winograd else 1.0)
    store = 0.0 if dtype == torch.float32 else UNIT_ROUNDOFF[dtype]
    return summed + 8.0 * compute + store


def flops(batch: int, out_channels: int, out_pixels: int, reduction: int) -> int:
    """Multiplications and additions of the definition, which is what speeds are stated in."""
    return 2 * batch * out_channels * out_pixels * reduction


def bytes_moved(itemsize: int, read: int, written: int, weights: int) -> int:
    """Elements of every image once, and the weights once in float32."""
    return itemsize * (read + written) + 4 * weights
