"""`norm_act` by the C++ kernels: csrc/conv_norm_act/identity.cpp."""

from __future__ import annotations

from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.conv_norm_act.cpu_impl import run
from genfuse_kernels.conv_norm_act.settings import Settings


def norm_act(
    out: Tensor,
    stats_out: Tensor | None,
    x: Tensor,
    settings: Settings,
    *,
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    stats: Tensor | None = None,
    film_scale: Tensor | None = None,
    film_shift: Tensor | None = None,
    residual: Tensor | None = None,
) -> None:
    """Fill `out` and `stats_out`; see `spec`. Shapes, dtypes and devices are the caller's to check."""
    run(
        _cpu.Conv.without(x.shape[1]),
        None,
        out,
        stats_out,
        x,
        None,
        settings,
        norm_weight=norm_weight,
        norm_bias=norm_bias,
        running_mean=running_mean,
        running_var=running_var,
        stats=stats,
        film_scale=film_scale,
        film_shift=film_shift,
        residual=residual,
    )
