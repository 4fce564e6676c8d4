"""`sampler_reduce` by PyTorch's own kernels: the reference, in float32 (float64 where x is)."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels.sampler_reduce import reference


def sampler_reduce(
    scales: Tensor,
    x: Tensor,
    model_output: Tensor,
    table: Tensor,
    index: int | Tensor,
    *,
    uncond: Tensor | None,
) -> None:
    """Fill `scales` (N, 2); see `spec`."""
    host = table.detach().to("cpu", torch.float64)
    scales.copy_(reference.sampler_reduce(x, model_output, host, index, uncond=uncond))
