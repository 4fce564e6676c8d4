"""The contract of `conv_norm_act`, a convolution with what stands before and behind it.

    launch(out, stats_out, x, weight, bias, settings, *, skip, norm_weight, norm_bias, running_mean, running_var,
           stats, film_scale, film_shift, shift, residual, residual_weight, residual_skip, seeds)

With s = settings (`settings.Settings`) and h = x, or x and skip along the channels:

    h   = (h − mean)/√(var + s.eps)·norm_weight + norm_bias      s.norm says over what; weight, bias (C,) or (N, C)
    h   = h·(1 + film_scale) + film_shift                        (N, C), where given
    h   = s.activation(h)
    h   = h·[u ≥ p]/(1 − p)                                      p = s.dropout > 0, u of each element as below
    h   = each pixel of h repeated s.upsample times              (height, width)
    y   = convolution(h, weight) + bias                          as torch.nn.functional.conv2d, conv_transpose2d
    r   = residual, or, with a residual_weight, the 1x1 convolution of residual and residual_skip along the channels
    out = s.out_activation((y + shift + r)·s.scale)              shift (N, K)
    out = the mean of each s.pool pixels of it                   (height, width); the last odd row or column is dropped
    stats_out = mean and biased variance over space of out, (N, K, 2), before out is rounded to its dtype

A border of zeros is put around h, behind norm and activation. `stats`, (N, C, 2) like stats_out of the unit that
made x, saves the pass over x that the norm would need.

The mask is drawn by Philox4x32-10 (Salmon et al., SC11) as `philox_normal.spec` has it. For sample n and the logical
element e of h's (C, H, W) index, x's channels before skip's and before it is upsampled:

    key     = (low, high) 32-bit halves of seeds[n]
    counter = (low, high halves of e // 4, s.dropout_stream, STREAM_DROPOUT)
    u       = ((w[e % 4] >> 9) + ½)·2⁻²³, w the four words

so that it does not depend on memory format, batch, neighbours, threads or backend, and a backward draws it again. What
is not finite stays NaN where it is dropped, as by torch.nn.functional.dropout. An activation's derivative at NaN is
NaN, of ReLU and leaky ReLU too, where PyTorch's pass the gradient on.

    x            (N, C, H, W) float32 | bfloat16 | float16; planar or channels last, other strides are copied
    skip         (N, C', H, W) like x;  residual, out  (N, K, H', W') like x
    residual     with residual_weight (K, R + R', 1, 1): (N, R, H', W'), and residual_skip (N, R', H', W')
    seeds        (N,) int64, read as 64 unsigned bits
    weight       (K, (C + C')/groups, kernel), transposed (C + C', K/groups, kernel); all parameters in x's dtype or
                 float32; without the height where x is a sequence's (N, C, 1, L)
    stats        float32

Half precision is storage, arithmetic is float32, sums over channels and taps too. Where x is bfloat16 and the processor
has the instruction (AVX-512 BF16), the convolution's two factors are bfloat16: h rounds to it, as between PyTorch's own
layers, and so do Winograd's transforms. A GPU's factors are in x's dtype; float32 is
multiplied as it is where "exact", in three parts on tensor cores where None, and as TF32 where "fast".

Winograd's F(4x4, 3x3) (Lavin & Gray 2016, arXiv:1509.09308) runs stride-1 3x3 convolutions, stride-2 ones with kernels
of 3 to 6 along either axis, and the phases of stride-2 transposed ones; F(2x2, 3x3) what of that has at most 4x4 pixels
(but stride 2 with fewer than 16 taps); F(6x6, 3x3) large pictures at stride 1, of float32 factors. s.accuracy "exact"
forbids them all. With None all of Winograd's factors are float32, and where the processor multiplies bfloat16 Winograd
runs what has more than 4x4 pixels and, at stride 2, 16 taps: the rest gains nothing beside twice the speed. On a
processor with a matrix unit (AMX) bfloat16 runs by the definition whatever the accuracy; a weight's gradient, which
is float32 arithmetic elsewhere, has h rounded to bfloat16 there, and denormal factors are zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act.settings import Settings, kernel_size
from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

WINOGRAD_GROWTH = 3.0
"""How much larger Winograd's error may be than one running sum's, both relative to the largest sum of magnitudes
under a tile. Measured on normal data of 16 to 512 channels: 1.2 to 1.8 times the largest error of such a sum."""


LARGE_TILE = 2000.0
"""Roundings that the transforms of F(6x6, 3x3) are worth, relative to the largest sum of magnitudes under a tile, times
the square root of the reduction: each channel's are its own. Measured on normal data of 1 to 8 channels: 550 to 930;
of 16 to 512, where the sums' own roundings count as well, a quarter of the whole bound at most."""


WINOGRAD_FACTORS = 24.0
"""Roundings of the factors that Winograd's largest error is worth, relative to the largest sum of magnitudes under a
tile, times the square root of the reduction. Measured in bfloat16 on normal data of 1 to 128 channels: 10 to 18."""


_MOST_TAPS, _MOST_PADDING = 4096, 1 << 16


def cpu_limit(weight_shape: Sequence[int], settings: Settings) -> str | None:
    """Why the CPU kernels do not run a convolution of this size; None where they do."""
    height, width = kernel_size(weight_shape)
    if height * width > _MOST_TAPS:
        return f"the kernel has {height} x {width} weights, expected at most {_MOST_TAPS}"
    if max(settings.padding) + max(0, *settings.extra_padding) > _MOST_PADDING:
        return f"padding is {settings.padding}, expected at most {_MOST_PADDING}: the border is staged"
    return None


_LEAST_GROUP = 16


def cpu_gradient_limit(weight_shape: Sequence[int], settings: Settings) -> str | None:
    """Why the CPU kernels do not run such a convolution where gradients are needed; None where they do."""
    if settings.groups > 1 and min(weight_shape[1], weight_shape[0] // settings.groups) < _LEAST_GROUP:
        return f"groups of fewer than {_LEAST_GROUP} channels have no weight gradient yet that is faster than PyTorch's"
    return cpu_limit(weight_shape, settings)


PRODUCT_ROUNDOFF: dict[str, float] = {"tf32": 2.0**-10, "tf32x3": 2.0**-21}
"""What a factor is off by in a tensor core's float32 products: 10 bits kept, or those and the next 10 with what meets
the first ones."""


def tolerance(
    dtype: torch.dtype, reduction: int, tile: int = 0, product: torch.dtype | str = torch.float32
) -> float:
    """Error allowed relative to the sum of magnitudes, Σ|h·weight| + |bias| + |shift| + |residual|.

    `reduction` counts the products of a residual's projection too, and |residual| is the sum of their magnitudes then.
    A sum of `reduction` float32 products rounds `reduction` times with random sign; four standard deviations.
    Norm and activation round a few times more (8). The result rounds once to its dtype. Where factors are rounded
    to `product`, each product is off by two roundings of it at most; Winograd's, rounded behind the transforms, by
    more, with random sign. `tile` is Winograd's, 0 where there is none.
    """
    compute, growth = UNIT_ROUNDOFF[torch.float32], WINOGRAD_GROWTH if tile else 1.0
    transforms = LARGE_TILE / math.sqrt(reduction) if tile > 4 else 0.0
    summed = 4.0 * math.sqrt(reduction) * compute * growth
    of_factor = PRODUCT_ROUNDOFF[product] if isinstance(product, str) else UNIT_ROUNDOFF[product]
    rounded = 0.0 if product == torch.float32 else 2.0 * of_factor
    factors = rounded * (WINOGRAD_FACTORS / math.sqrt(reduction) if tile else 1.0)
    store = 0.0 if dtype == torch.float32 else UNIT_ROUNDOFF[dtype]
    return summed + factors + (8.0 + transforms) * compute + store


def flops(batch: int, out_channels: int, out_pixels: int, reduction: int) -> int:
    """Multiplications and additions of the definition, which is what speeds are stated in."""
    return 2 * batch * out_channels * out_pixels * reduction


def bytes_minimum(itemsize: int, images: int, weights: int) -> int:
    """What any kernel moves: each element of the images that it reads or writes, and each weight, once."""
    return itemsize * (images + weights)


def bytes_moved(images: int, packed: int, measured: int = 0) -> int:
    """What ours moves, from bytes: images once, the weights as they are packed once, and `measured` images again.

    Packed weights are float32 in whole blocks of channels, four to nine times as many for Winograd. Staged and
    transformed input stays in caches: blocking keeps a unit's in the L2 cache, what threads share within 16 MiB.
    """
    return images + packed + measured


def measures(settings: Settings, running_mean: Tensor | None, stats: Tensor | None) -> bool:
    """Whether the norm takes a pass over its input, for statistics that nobody gave."""
    return settings.norm != "none" and running_mean is None and stats is None


def goes_by_channels(settings: Settings, running_mean: Tensor | None) -> bool:
    """Whether the norm goes by its input's own statistics of each channel, which training keeps.

    Those of a pixel are measured again.
    """
    return settings.norm in ("batch", "instance", "group", "layer") and running_mean is None


ACTIVATION_GRADIENT_ERROR = 4e-7
"""Absolute error of an activation's derivative, which is at most 1.13: some roundings of numbers around 1."""

_PIECE = 128


def gradient_tolerance(reduction: int) -> float:
    """Error allowed the gradients of norm and input (`norm_gradient`), relative to the sums of magnitudes in them.

    Beside what the normalised values and the activation's derivative are off by. Sums of `reduction` terms run in
    float32 for 128 terms at most and go on in double: that many roundings with random sign, four standard deviations.
    Products and factors round a few times more (8).
    """
    return (4.0 * math.sqrt(min(reduction, _PIECE)) + 8.0) * UNIT_ROUNDOFF[torch.float32]
