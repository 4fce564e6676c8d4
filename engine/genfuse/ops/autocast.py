"""`torch.autocast` around ops that take images of one dtype and weights of that or float32."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

_Given = TypeVar("_Given", Tensor, Tensor | None)


def is_autocast(x: Tensor) -> bool:
    """Whether an autocast region asks for float32 images in another dtype."""
    return torch.is_autocast_enabled(x.device.type)


def in_autocast(x: _Given) -> _Given:
    """A float32 tensor in the region's dtype, with a graph behind it; others as they are."""
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        return x
    return x.to(torch.get_autocast_dtype(x.device.type))
