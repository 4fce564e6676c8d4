"""`norm_stats` by the CUDA kernels: csrc/norm_stats/cuda.cu, and csrc/fold_moments where blocks share a channel."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_launch import launch
from genfuse_kernels.common.cuda_moments import fold_moments, room_for_parts
from genfuse_kernels.common.cuda_tile import THREADS, TILE, TilePlan, tile
from genfuse_kernels.common.cuda_walk import OPERAND, operand_field
from genfuse_kernels.common.planes import as_planes

STATS = np.dtype([("stats", "u8"), ("moments", "u8"), ("splits", "i8"), ("rows", "i8")])
"""The kernels' `StatsArguments`."""

ARGUMENTS = np.dtype([("to", STATS), ("x", OPERAND), ("tile", TILE)])
"""The kernel's `NormStatsArguments`."""


def norm_stats(out: Tensor, x: Tensor) -> None:
    """Fill `out`; see `spec`. Positions that don't collapse to one stride go through a contiguous copy."""
    if x.numel() == 0:
        return
    read = as_planes(x)
    channels, positions = x.shape[1], x.shape[2] * x.shape[3]
    plan = tile([read], channels, positions)
    moments = room_for_splits(plan, out)
    arguments = np.array((stats_field(out, moments), operand_field(read), plan.sizes), dtype=ARGUMENTS)
    launch(Kernel("norm_stats", x.dtype, plan.order, plan.wide), plan.blocks, arguments, x.device, THREADS)
    if moments is not None:
        fold_moments(out, moments)


def room_for_splits(plan: TilePlan, stats: Tensor | None) -> Tensor | None:
    """`room_for_parts` where several blocks share a row of `stats`."""
    if stats is None or plan.splits == 1:
        return None
    return room_for_parts(plan.splits, stats.numel() // 2, stats.device)


def stats_field(stats: Tensor | None, moments: Tensor | None) -> tuple[int, int, int, int]:
    """`STATS` of contiguous tensors."""
    if stats is None:
        return 0, 0, 0, 0
    of_splits = (0, 1) if moments is None else (moments.data_ptr(), moments.shape[1])
    return stats.data_ptr(), *of_splits, stats.numel() // 2
