"""The contract of `norm_act`, the part of `conv_norm_act` that has no convolution.

    launch(out, stats_out, x, settings, *, norm_weight, norm_bias, running_mean, running_var, stats, film_scale,
           film_shift, residual, seeds)

With s = settings (`conv_norm_act.settings.Settings`, of which what concerns a convolution is not read):

    h   = (x − mean)/√(var + s.eps)·norm_weight + norm_bias, and film, as `conv_norm_act` has them
    h   = s.activation(h), and dropout, as there
    out = s.out_activation((h + residual)·s.scale), its s.pool pixels averaged
    stats_out = mean and biased variance over space of out, (N, C, 2), before out is rounded

x and residual are (N, C, H, W) alike, out too unless pooled; everything else as in `conv_norm_act`.
"""

from __future__ import annotations

from genfuse_kernels.conv_norm_act.spec import DTYPES, tolerance

__all__ = ["DTYPES", "bytes_moved", "tolerance"]


def bytes_moved(numel: int, itemsize: int, images: int, statistics: bool) -> int:
    """`images` read or written once; one more pass over x where its statistics are not given."""
    return numel * itemsize * (images + statistics)
