"""The optimizers that a system's configuration may name, each with its settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

STATE = {
    torch.optim.Adam: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.RMSprop: ("step", "square_avg"),
}
"""What each keeps of a parameter: the updates behind it, and moments of the parameter's shape."""


@dataclass(frozen=True)
class Adam:
    """Kingma and Ba 2015 (arXiv:1412.6980). ``learning_rate`` is more than 0, ``betas`` lie in [0, 1)."""

    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)

    def __post_init__(self) -> None:
        _check_rate(self.learning_rate)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas is {self.betas}, expected two numbers in [0, 1)")

    def of(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        return torch.optim.Adam(parameters, self.learning_rate, self.betas, fused=True)


@dataclass(frozen=True)
class RMSProp:
    """Tieleman and Hinton 2012, lecture 6.5: no momentum. ``learning_rate`` is more than 0, ``decay`` in [0, 1)."""

    learning_rate: float = 5e-5
    decay: float = 0.99

    def __post_init__(self) -> None:
        _check_rate(self.learning_rate)
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay is {self.decay}, expected a number in [0, 1)")

    def of(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        return torch.optim.RMSprop(parameters, self.learning_rate, self.decay)


def _check_rate(learning_rate: float) -> None:
    if not learning_rate > 0:
        raise ValueError(f"learning_rate is {learning_rate}, expected more than 0")
