"""`timestep_embedding` in plain PyTorch: the definition of the op."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def timestep_embedding(
    t: Tensor,
    channels: int,
    flip_sin_to_cos: bool,
    downscale_freq_shift: float,
    scale: float,
    max_period: float,
) -> Tensor:
    """(N, channels) in t's dtype; see `spec`."""
    half = channels // 2
    exponents = torch.arange(half, device=t.device, dtype=torch.float64) / (half - downscale_freq_shift)
    angles = scale * t.double()[:, None] * torch.exp(-math.log(max_period) * exponents)
    parts = [angles.cos(), angles.sin()] if flip_sin_to_cos else [angles.sin(), angles.cos()]
    return F.pad(torch.cat(parts, dim=1), (0, channels % 2)).to(t.dtype)
