"""The contract of `philox_normal`: which counter gives which normal.

philox_normal(out, seeds, row, stream) writes, for sample n and logical element e of its (C, H, W) index:

    key     = (low, high) 32-bit halves of seeds[n]
    counter = (low, high halves of e // 4, row[n], stream)
    w       = Philox4x32-10(counter, key)                        (Salmon et al., SC11, 10 rounds)
    u       = ((w >> 9) + 0.5) · 2⁻²³                            in every dtype, float64 too
    normals = √(−2 ln u0)·(cos 2πu1, sin 2πu1), √(−2 ln u2)·(cos 2πu3, sin 2πu3)
    out[n, e] = normals[e % 4]

The element is the logical index whatever the memory format, so a sample's noise does not depend on
layout, batch, neighbours, threads or backend.

    out      (N, *S)  float64 | float32 | bfloat16 | float16, any strides
    seeds    (N,)     int64, read as 64 unsigned bits
    row      int in [0, 2³²), or int64 (N,): one row a sample
    stream   int in [0, 2³²)
"""

from __future__ import annotations

import torch

STREAM_STEP = 0
"""Noise that a sampler adds at a row of its table."""
STREAM_INIT = 1
"""The sample that a sampling loop starts from."""
STREAM_FORWARD = 2
"""Noise of the forward process: `add_noise` and training pairs."""
STREAM_DROPOUT = 3
"""Masks of dropout: uniform numbers, one a word, of which `conv_norm_act.spec` says the rest."""
STREAM_INTERPOLATION = 4
"""Weights of `philox_lerp` between samples: one uniform number each, of the first word."""
STREAM_PERTURBATION = 5
"""Its noise around real samples."""
STREAM_PATH = 6
"""The noise that `genfuse.path_length_penalty` projects pictures on."""
STREAM_AUGMENTATION = 7
"""What `genfuse.augment.diff_augment` does to a sample: uniform numbers, one a word."""
STREAM_STYLE = 8
"""The noise of a style layer: a normal number a pixel, of the row that the layer has."""

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def tolerance(dtype: torch.dtype) -> float:
    """Largest |ours − float64 reference| / max(1, |reference|).

    float32: 1e-6 (DESIGN, "Numbers"). Half precision: the rounding of the store, half an ulp, beside it.
    float64: 50 ulp of the largest normal, 5.9 = √(−2 ln 2⁻²⁴).
    """
    return {
        torch.float64: 1e-14,
        torch.float32: 1e-6,
        torch.bfloat16: 2.0**-8 + 1e-6,
        torch.float16: 2.0**-11 + 1e-6,
    }[dtype]


def bytes_moved(numel: int, itemsize: int) -> int:
    """Each normal is written once and nothing is read but the seeds."""
    return numel * itemsize
