"""`timestep_embedding` by the C++ kernel: csrc/timestep_embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels import _cpu


def timestep_embedding(
    out: Tensor,
    t: Tensor,
    flip_sin_to_cos: bool,
    downscale_freq_shift: float,
    scale: float,
    max_period: float,
) -> None:
    """Fill `out`; see `spec`."""
    times = (t if t.dtype == torch.float32 else t.to(torch.float64)).contiguous()
    filled = out if out.dtype in (torch.float32, torch.float64) else out.float()
    _cpu.timestep_embedding(
        times.data_ptr(),
        times.dtype == torch.float64,
        out.shape[0],
        out.shape[1],
        flip_sin_to_cos,
        downscale_freq_shift,
        scale,
        max_period,
        filled.data_ptr(),
        filled.dtype == torch.float64,
    )
    if filled is not out:
        out.copy_(filled)
