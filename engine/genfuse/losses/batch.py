"""What the losses take: batches that are not empty, widened to where they can be added up."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse.ops import check


def wide(name: str, tensor: Tensor) -> Tensor:
    """The batch in float32, or float64 where it is that. ValueError or TypeError for what is none, or empty."""
    check.sample(name, tensor)
    if tensor.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, expected at least one sample of one number"
        )
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def wide_pair(name: str, tensor: Tensor, model_name: str, model: Tensor) -> tuple[Tensor, Tensor]:
    """Both wide. ValueError unless of one shape, on one device; dtypes may differ, as under autocast."""
    found, expected = wide(name, tensor), wide(model_name, model)
    if found.shape != expected.shape:
        raise ValueError(
            f"{name} has shape {tuple(found.shape)}, expected {tuple(expected.shape)} as {model_name}"
        )
    check.same_device(name, found, expected, model_name)
    return found, expected
