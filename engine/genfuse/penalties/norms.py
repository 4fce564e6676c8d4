"""The 2-norm of each sample's gradient, and its direction."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Norms(NamedTuple):
    """Of gradients (N, ...): float32, or float64 where these are float64."""

    norm: Tensor
    """(N,)"""
    direction: Tensor
    """(N, ...), of norm 1; 0 where the gradient is 0"""


def norms_of(gradient: Tensor) -> Norms:
    """Squares are of the gradient over its largest element: none overflows, and none that counts vanishes."""
    wide = gradient if gradient.dtype == torch.float64 else gradient.float()
    rows = wide.reshape(wide.shape[0], -1)
    largest = rows.abs().amax(1, keepdim=True) if rows.shape[1] else rows.new_zeros(rows.shape[0], 1)
    scaled = rows / torch.where(largest > 0, largest, 1)
    length = scaled.square().sum(1, keepdim=True).sqrt()
    direction = scaled / torch.where(length > 0, length, 1)
    return Norms((largest * length)[:, 0], direction.reshape(gradient.shape))
