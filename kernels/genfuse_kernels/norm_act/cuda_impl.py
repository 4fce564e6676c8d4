"""`norm_act` by the CUDA kernels: csrc/norm_act, after statistics and the table that the norm comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_launch import launch
from genfuse_kernels.common.cuda_moments import fold_moments
from genfuse_kernels.common.cuda_tile import THREADS, TILE, tile
from genfuse_kernels.common.cuda_walk import OPERAND, operand_field
from genfuse_kernels.common.planes import as_planes, fit, give_back
from genfuse_kernels.conv_norm_act.cuda_dropout import DROPOUT, dropout_field
from genfuse_kernels.conv_norm_act.cuda_norm import TABLE_FIELD, norm_table, table_field
from genfuse_kernels.conv_norm_act.dropout import Dropout
from genfuse_kernels.conv_norm_act.norm_table import Table
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NormTensors, Settings
from genfuse_kernels.norm_stats.cuda_impl import STATS, room_for_splits, stats_field

if TYPE_CHECKING:
    from typing_extensions import Unpack

ARGUMENTS = np.dtype(
    [
        ("to", STATS),
        *((name, OPERAND) for name in ("out", "x", "residual")),
        ("table", TABLE_FIELD),
        ("dropout", DROPOUT),
        ("slope", "f8"),
        ("scale", "f8"),
        *((name, "i8") for name in ("activation", "out_activation")),
        *((name, "i8") for name in ("positions", "width", "out_width", "pool_h", "pool_w")),
        ("tile", TILE),
    ]
)
"""The kernels' `NormActArguments`."""


def norm_act(
    out: Tensor, stats_out: Tensor | None, x: Tensor, settings: Settings, **tensors: Unpack[NormTensors]
) -> None:
    """Fill `out` and `stats_out`; see `spec`. Tensors whose positions don't collapse go through copies, `out` too."""
    if x.numel() == 0:
        return
    table = norm_table(x, None, settings, tensors)
    apply(out, stats_out, x, settings, table, tensors.get("residual"), tensors.get("seeds"))


def apply(
    out: Tensor,
    stats_out: Tensor | None,
    x: Tensor,
    s: Settings,
    table: Table,
    residual: Tensor | None,
    seeds: Tensor | None,
    *,
    first_channel: int = 0,
) -> None:
    """What follows the statistics; x's channels are those of the table from `first_channel` on."""
    read, added, written = as_planes(x), fit(residual), as_planes(out)
    channels, positions, out_positions = (x.shape[1], x.shape[2] * x.shape[3], out.shape[2] * out.shape[3])
    plan = tile([read, written, added], channels, out_positions, gathers=s.pool != (1, 1))
    moments = room_for_splits(plan, stats_out)
    dropout = Dropout.of(s, seeds)
    arguments = np.array(
        (
            stats_field(stats_out, moments),
            *map(operand_field, (written, read, added)),
            table_field(table, channels, first_channel),
            dropout_field(dropout),
            s.negative_slope,
            s.scale,
            *map(ACTIVATIONS.index, (s.activation, s.out_activation)),
            *(positions, x.shape[3], out.shape[3], *s.pool),
            plan.sizes,
        ),
        dtype=ARGUMENTS,
    )
    part = "pool_act" if s.pool != (1, 1) else "" if stats_out is None else "measured_act"
    kernel = Kernel("norm_act", x.dtype, plan.order, plan.wide, part)
    launch(kernel, plan.blocks, arguments, x.device, THREADS)
    if stats_out is not None and moments is not None:
        fold_moments(stats_out, moments)
    give_back((out, written))
