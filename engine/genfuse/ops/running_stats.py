"""The running statistics of batch norm in training, beside the unit that normalises by the batch's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx.node import has_side_effect

from genfuse.errors import UnsupportedError
from genfuse.ops.norm_stats import stats_of


@has_side_effect
def update_running_stats(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float | None,
    skip: Tensor | None = None,
    stats: Tensor | None = None,
    num_batches_tracked: Tensor | None = None,
    count: int | None = None,
) -> None:
    """Move the running statistics towards the batch's by `momentum`, as `torch.nn.BatchNorm2d` does.

    x, skip   (N, C, H, W) and (N, C', H, W), or sequences without H
    stats     (N, C + C', 2) of both, where they are measured already
    count     values a channel has, where these are the statistics (1, C + C', 2) of several processes' batches
    running_mean, running_var   (C + C',), changed in place; the variance is the unbiased one. None: nothing to move
    momentum  None: by one over the number of batches, which makes them the mean over all; not without the number
    num_batches_tracked   () int64, counted up in place

    Inside a backward pass nothing moves: a checkpoint computes there again what it has counted already.

    ValueError, in `torch.nn`'s words, where a channel has a single value, of which there is no variance.
    UnsupportedError inside `torch.func.vmap`, whose batches would each move the one mean that there is.
    """
    if running_mean is not None and _is_mapped(x) and not _is_mapped(running_mean):
        raise UnsupportedError(
            "batch norm in training has one running_mean for all that torch.func.vmap maps over: set "
            "track_running_stats=False, or the module to eval mode"
        )
    values = count if count is not None else x.shape[0] * x[0, 0].numel() if x.shape[0] else 0
    if values == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
    if is_recomputation():
        return
    if num_batches_tracked is not None:
        num_batches_tracked.add_(1)
    if running_mean is None or running_var is None or values == 0:
        return
    with torch.no_grad():
        of_sample = (stats_of(x, skip) if stats is None else stats).double()
        mean = of_sample[:, :, 0].mean(0)
        var = (of_sample[:, :, 1] + (of_sample[:, :, 0] - mean).square()).mean(0) * (values / (values - 1))
        for running, of_batch in ((running_mean, mean), (running_var, var)):
            by = _momentum(momentum, num_batches_tracked, running.dtype)
            running.lerp_(of_batch.to(running.dtype), by)


def _is_mapped(tensor: Tensor) -> bool:
    """Whether `torch.func.vmap` maps over it."""
    return not torch.compiler.is_compiling() and torch._C._functorch.is_batchedtensor(tensor)


def _momentum(
    momentum: float | None, num_batches_tracked: Tensor | None, dtype: torch.dtype
) -> float | Tensor:
    """On the device where it is the count's, so that it may be recorded."""
    if momentum is not None:
        return momentum
    return 0.0 if num_batches_tracked is None else num_batches_tracked.reciprocal().to(dtype)


def is_recomputation() -> bool:
    """Whether autograd is running backward, where a forward is a checkpoint's second; traced code cannot tell."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


@has_side_effect
def count_batch(num_batches_tracked: Tensor) -> None:
    """One batch more, once for each forward that is no checkpoint's second."""
    if not is_recomputation():
        num_batches_tracked.add_(1)
