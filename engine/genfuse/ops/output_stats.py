"""The statistics that a unit measured of its output, as a function of it.

A node of their own keeps the output, for as long as somebody may ask for their gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def differentiable_stats(y: Tensor, stats: Tensor) -> Tensor:
    """The same statistics, (N, C, 2) of y (N, C, H, W), with a graph behind them where y has one."""
    result: Tensor = _OfOutput.apply(y, stats)
    return result


class _OfOutput(torch.autograd.Function):
    """∂mean/∂y = 1/n, ∂var/∂y = 2(y − mean)/n."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, stats: Tensor) -> Tensor:
        ctx.save_for_backward(y, stats)
        return stats.detach()

    @staticmethod
    def backward(ctx: Any, of_stats: Tensor) -> tuple[Tensor, None]:
        y, stats = ctx.saved_tensors
        pixels = y.shape[2] * y.shape[3]
        of_mean, of_var = (of_stats[:, :, i, None, None] / pixels for i in (0, 1))
        mean = stats[:, :, 0, None, None]
        if torch.is_grad_enabled():
            mean = y.to(mean.dtype).mean((2, 3), keepdim=True)  # with a graph
        return torch.addcmul(of_mean, (y - mean).to(of_mean.dtype), 2 * of_var).to(y.dtype), None
