"""Norms by PyTorch's own fused kernels, forward and backward, where it has them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels.conv_norm_act import reference
from genfuse_kernels.conv_norm_act.settings import Settings


def normalised(
    x: Tensor,
    s: Settings,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    stats: Tensor | None,
) -> Tensor:
    """As `reference.normalised`, which runs what PyTorch has no kernel for: given statistics, (N, C) weights, mixed
    dtypes, norms per pixel, a single value.
    """
    plain = all(
        t is None or (t.ndim == 1 and t.dtype == x.dtype) for t in (weight, bias, running_mean, running_var)
    )
    batch, channels = x.shape[:2]
    groups = {"instance": channels, "layer": 1, "group": s.num_groups}.get(s.norm)
    if plain and stats is None and groups is not None and x.numel() > batch * groups:
        return _by_groups(x, groups, weight, bias, s.eps)
    if plain and stats is None and s.norm == "batch" and (running_mean is not None or x.numel() > channels):
        return F.batch_norm(x, running_mean, running_var, weight, bias, running_mean is None, 0.0, s.eps)
    return reference.normalised(x, s, weight, bias, running_mean, running_var, stats)


def _by_groups(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Group norm, stepping around two faults of PyTorch's backward (2.13)."""
    shape = x.shape
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (weight, bias)):
        # Of channels-last memory it crashes where the weight's gradient is asked for and x's is not, which may have
        # one all the same: a flattened image has no such memory.
        x = x.flatten(2)
    if weight is not None or bias is None:
        return F.group_norm(x, groups, weight, bias, eps).view(shape)
    # It fails to make the gradient of a bias without a weight.
    return F.group_norm(x, groups, None, None, eps).view(shape) + bias.view(-1, *(1,) * (len(shape) - 2))
