"""Batch norm over several processes, in an optimised model's graph: what they exchange, and the norm by it."""

from __future__ import annotations

from torch import Tensor

from genfuse.ops.norm_act import unit
from genfuse.ops.synchronised_stats import group_named, synchronised_stats
from genfuse_kernels.conv_norm_act.settings import Settings


def stats_over(x: Tensor, group: str, of_sample: Tensor | None = None) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance over all processes' batches: (N, C, 2), alike for each sample of x, and (1, C, 2).

    x          (N, C, H, W) or (N, C, L)
    group      the processes' name, each of which calls this in the same order
    of_sample  (N, C, 2), the statistics of each sample of x, where they are measured already

    The third is the values that a channel has. Differentiable; ValueError where that is one.
    """
    images = x.unsqueeze(2) if x.ndim == 3 else x
    stats, count = synchronised_stats(images, None, group_named(group), of_sample)
    return stats.expand(x.shape[0], -1, -1).contiguous(), stats[None], count


def by_stats(input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, stats: Tensor) -> Tensor:
    """Batch norm of (N, C, H, W) or (N, C, L) by given statistics (N, C, 2)."""
    tensors = {"norm_weight": weight, "norm_bias": bias, "stats": stats}
    return unit(input, Settings(norm="batch", eps=eps), tensors)[0]  # type: ignore[arg-type]
