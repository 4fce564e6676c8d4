"""Dropout is a product with its mask: drawn once, and the same in every pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfuse.ops.dropout import dropped
from genfuse.penalties.rules.rule import composition
from genfuse_kernels.conv_norm_act.settings import Settings


@composition("dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "feature_dropout")
def dropout(
    function: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, **named: Any
) -> Tensor:
    """The mask is what PyTorch's function makes of ones: its own draws."""
    training = named.get("train", training)
    mask = function(torch.ones_like(input), p, training)
    return input.mul_(mask) if inplace or function in (torch.dropout_,) else input * mask


@composition(dropped)
def dropped_by_seeds(function: Any, h: Tensor, s: Settings, seeds: Tensor) -> Tensor:
    return h * dropped(torch.ones_like(h), s, seeds)
