"""An exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from genfuse.ops import ema_update


class Ema:
    """``ema.model`` is a copy of the network whose weights follow it slowly.

    The decay of update ``step`` is min(decay, (1 + step) / (10 + step)), so that the first, random weights
    are forgotten in a few steps whatever the final decay.

    Args:
        model: the network that trains; its structure is copied, its weights are the average's start.
        decay: in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards ``model``'s weights and buffers; ``step`` counts updates from 0. Integer buffers are copied."""
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = [
            *zip(self.model.parameters(), model.parameters(), strict=True),
            *zip(self.model.buffers(), model.buffers(), strict=True),
        ]
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        ema_update([average for average, _ in floating], [current for _, current in floating], decay)
        for average, current in pairs:
            if not average.is_floating_point():
                average.copy_(current)
