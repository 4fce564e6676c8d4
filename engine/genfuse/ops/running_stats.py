"""The running statistics of batch norm in training, beside the unit that normalises by the batch's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx.node import has_side_effect

from genfuse.ops.norm_stats import stats_of


@has_side_effect
def update_running_stats(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    skip: Tensor | None = None,
    stats: Tensor | None = None,
) -> None:
    """Move the running statistics towards the batch's by `momentum`, as `torch.nn.functional.batch_norm` does.

    x, skip   (N, C, H, W) and (N, C', H, W), or sequences without H
    stats     (N, C + C', 2) of both, where they are measured already
    running_mean, running_var   (C + C',), changed in place; the variance is the unbiased one. None: nothing to move

    ValueError where a channel has a single value, of which there is no variance.
    """
    values = x.shape[0] * x[0, 0].numel() if x.shape[0] else 0
    if values == 1:
        raise ValueError(f"expected more than 1 value per channel in training, x has shape {tuple(x.shape)}")
    if running_mean is None or running_var is None or values == 0:
        return
    with torch.no_grad():
        of_sample = (stats_of(x, skip) if stats is None else stats).double()
        mean = of_sample[:, :, 0].mean(0)
        var = (of_sample[:, :, 1] + (of_sample[:, :, 0] - mean).square()).mean(0) * (values / (values - 1))
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_(var.to(running_var.dtype), momentum)
