"""The norm of a unit, as the ordinary module that holds its parameters."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from genfuse.ops.norm_stats import stats_of
from genfuse.ops.running_stats import update_running_stats
from genfuse.ops.synchronised_stats import group_of, synchronised_stats
from genfuse_kernels.conv_norm_act.settings import Norm, NormTensors

_BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


def make_norm(norm: Norm, channels: int, num_groups: int, eps: float, affine: bool) -> nn.Module:
    """PyTorch's module for one of the op's norms; `nn.Identity`, which has no state, for none.

    Those per pixel normalise the last axis where they run themselves, C only inside a unit.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels, eps, affine=affine)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, eps, affine=affine)
    if norm in ("group", "layer"):
        return nn.GroupNorm(num_groups if norm == "group" else 1, channels, eps, affine)
    if norm == "layer_pixel":
        return nn.LayerNorm(channels, eps, affine)
    if norm == "rms_pixel":
        return nn.RMSNorm(channels, eps, affine)
    return nn.Identity()


def norm_tensors(norm: nn.Module) -> NormTensors:
    """What a unit's norm reads: batch norm its running statistics too, but in training, where it goes by the batch."""
    tensors: NormTensors = {
        "norm_weight": getattr(norm, "weight", None),
        "norm_bias": getattr(norm, "bias", None),
    }
    if isinstance(norm, _BATCH_NORMS) and not norm.training:
        tensors |= {"running_mean": norm.running_mean, "running_var": norm.running_var}
    return tensors


class BatchStats(NamedTuple):
    """What batch norm goes by in training."""

    stats: Tensor
    """(N, C, 2), or (1, C, 2) of all processes' batches"""
    measured: bool
    """whether these are the samples' own"""
    values: int | None
    """that a channel has in all processes"""

    def of_samples(self, batch: int) -> Tensor:
        """(N, C, 2), as a unit takes them."""
        return self.stats.expand(batch, -1, -1).contiguous()


def batch_stats(norm: nn.Module, x: Tensor, skip: Tensor | None = None) -> BatchStats | None:
    """In training, the statistics of x and skip, by which batch norm goes; a `SyncBatchNorm` by all processes'."""
    if not isinstance(norm, _BATCH_NORMS) or not norm.training:
        return None
    group = group_of(norm.process_group) if isinstance(norm, nn.SyncBatchNorm) else None
    if group is None:
        return BatchStats(stats_of(x, skip), True, None)
    stats, count = synchronised_stats(x, skip, group)
    return BatchStats(stats[None], False, count)


def finish(norm: nn.Module, x: Tensor, skip: Tensor | None = None, batch: BatchStats | None = None) -> None:
    """Behind a unit that read x and skip, of these `batch_stats`: running statistics follow the batch's."""
    if not isinstance(norm, _BATCH_NORMS) or not norm.training or not norm.track_running_stats:
        return
    stats, _, values = batch or (None, True, None)
    update_running_stats(
        x,
        norm.running_mean,
        norm.running_var,
        norm.momentum,
        skip,
        stats,
        norm.num_batches_tracked,
        values,
    )
