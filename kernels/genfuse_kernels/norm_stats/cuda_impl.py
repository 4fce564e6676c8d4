"""`norm_stats` by the CUDA kernels: csrc/norm_stats/cuda.cu, and cuda_fold_moments.cu where blocks share a channel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_launch import launch
from genfuse_kernels.common.cuda_tile import THREADS, TILE, TilePlan, tile
from genfuse_kernels.common.cuda_walk import OPERAND, operand_field
from genfuse_kernels.common.planes import as_planes

STATS = np.dtype([("stats", "u8"), ("partial", "u8"), ("rows", "i8")])
"""The kernels' `StatsArguments`."""

ARGUMENTS = np.dtype([("to", STATS), ("x", OPERAND), ("tile", TILE)])
"""The kernel's `NormStatsArguments`."""

FOLD_ARGUMENTS = np.dtype(
    [("stats", "u8"), ("partial", "u8"), *((name, "i8") for name in ("rows", "splits", "span", "positions"))]
)
"""The kernel's `FoldMomentsArguments`."""

FOLD_ROWS = 8
"""Rows of a block that folds."""


def norm_stats(out: Tensor, x: Tensor) -> None:
    """Fill `out`; see `spec`. Positions that don't collapse to one stride go through a contiguous copy."""
    if x.numel() == 0:
        return
    read = as_planes(x)
    channels, positions = x.shape[1], x.shape[2] * x.shape[3]
    plan = tile([read], channels, positions)
    partial = room_for_parts(plan, out)
    arguments = np.array((stats_field(out, partial), operand_field(read), plan.sizes), dtype=ARGUMENTS)
    launch(Kernel("norm_stats", x.dtype, plan.order, plan.wide), plan.blocks, arguments, x.device, THREADS)
    fold_moments(out, partial, plan.span, positions)


def room_for_parts(plan: TilePlan, stats: Tensor | None) -> Tensor | None:
    """Where the blocks that share a row of `stats` meet: (splits, N, C, 2) float64, mean and squared deviations."""
    if stats is None or plan.splits == 1:
        return None
    return torch.empty((plan.splits, *stats.shape), dtype=torch.float64, device=stats.device)


def stats_field(stats: Tensor | None, partial: Tensor | None) -> tuple[int, int, int]:
    """`STATS` of contiguous tensors."""
    if stats is None:
        return 0, 0, 0
    return stats.data_ptr(), 0 if partial is None else partial.data_ptr(), stats.numel() // 2


def fold_moments(stats: Tensor | None, partial: Tensor | None, span: int, positions: int) -> None:
    """Fill `stats` from `room_for_parts`'s, each part of `span` of the positions."""
    if stats is None or partial is None:
        return
    rows = stats.numel() // 2
    sizes = (rows, partial.shape[0], span, positions)
    arguments = np.array((stats.data_ptr(), partial.data_ptr(), *sizes), dtype=FOLD_ARGUMENTS)
    kernel = Kernel("norm_stats", torch.float32, "planes", False, "fold_moments")
    launch(kernel, -(-rows // FOLD_ROWS), arguments, stats.device, THREADS)
