"""The contract of `linear`, a unit whose convolution has one pixel.

    launch(out, x, weight, bias, settings, residual)

With s = settings (`conv_norm_act.settings.Settings`, of which four fields matter):

    out = s.out_activation((s.activation(x)·weightᵀ + bias + residual)·s.scale)

    x               (M, C) float32 | bfloat16 | float16
    weight          (K, C), bias (K,), in x's dtype or float32
    residual, out   (M, K) like x

Sums are float32, and so is arithmetic, but that factors are rounded as `conv_norm_act.spec` has it: a GPU's to x's
dtype. A row's bits do not depend on the other rows.
Tolerance, operations and bytes are those of `conv_norm_act.spec`, with C as the reduction.
"""

from __future__ import annotations

from genfuse_kernels.conv_norm_act.spec import DTYPES, bytes_moved, flops, tolerance

__all__ = ["DTYPES", "bytes_moved", "flops", "tolerance"]
