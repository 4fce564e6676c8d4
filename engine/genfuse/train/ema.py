"""An exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


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
        """Move towards ``model``'s weights; ``step`` counts updates from 0. Integer buffers are copied."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = model.state_dict()
        for name, average in self.model.state_dict().items():
            if average.is_floating_point():
                average.lerp_(current[name], 1 - decay)
            else:
                average.copy_(current[name])
