"""The norm of a unit, as the ordinary module that holds its parameters."""

from __future__ import annotations

from torch import Tensor, nn

from genfuse.ops.norm_stats import stats_of
from genfuse.ops.running_stats import update_running_stats
from genfuse_kernels.conv_norm_act.settings import Norm, NormTensors


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
    if isinstance(norm, nn.BatchNorm2d) and not norm.training:
        tensors |= {"running_mean": norm.running_mean, "running_var": norm.running_var}
    return tensors


def batch_stats(norm: nn.Module, x: Tensor, skip: Tensor | None = None) -> Tensor | None:
    """In training, what batch norm and its running statistics go by: the statistics (N, C + C', 2) of x and skip."""
    return stats_of(x, skip) if isinstance(norm, nn.BatchNorm2d) and norm.training else None


def finish(norm: nn.Module, x: Tensor, skip: Tensor | None = None, stats: Tensor | None = None) -> None:
    """Behind a unit that read x and skip, of these `batch_stats`: running statistics follow the batch's."""
    if not isinstance(norm, nn.BatchNorm2d) or not norm.training or not norm.track_running_stats:
        return
    update_running_stats(
        x, norm.running_mean, norm.running_var, norm.momentum, skip, stats, norm.num_batches_tracked
    )
