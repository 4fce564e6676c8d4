"""The contract of `norm_act`, the part of `conv_norm_act` that has no convolution.

    launch(out, stats_out, x, settings, *, norm_weight, norm_bias, running_mean, running_var, stats, film_scale,
           film_shift, residual, seeds)

With s = settings (`conv_norm_act.settings.Settings`, of which what concerns a convolution is not read):

    h   = (x − mean)/√(var + s.eps)·norm_weight + norm_bias, and film, as `conv_norm_act` has them
    h   = s.activation(h), and dropout, as there
    out = s.out_activation((h + residual)·s.scale), its s.pool pixels averaged
    stats_out = mean and biased variance over space of out, (N, C, 2), before out is rounded

x and residual are (N, C, H, W) alike, out too unless pooled; everything else as in `conv_norm_act`.

Backward, of settings without out_activation and pool (`cpu_gradient`, `triton_gradient`, `cuda_gradient`):

    norm_act_gradient(gradient, x, settings, tensors, *, through_stats, needs)

    gradient       of out, in x's dtype
    tensors        as in the forward, with the statistics that its norm measured, if it did
    through_stats  whether these are x's own, so that their gradient goes on to it
    needs          of what: "x" and names of tensors but "residual", whose gradient is gradient·s.scale

returns them by name, each like what it is of.
"""

from __future__ import annotations

from genfuse_kernels.conv_norm_act.spec import DTYPES, tolerance

__all__ = ["DTYPES", "bytes_moved", "tolerance"]


def bytes_moved(numel: int, itemsize: int, images: int, statistics: bool) -> int:
    """`images` read or written once; one more pass over x where its statistics are not given."""
    return numel * itemsize * (images + statistics)
