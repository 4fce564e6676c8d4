"""`norm_stats` by PyTorch's own kernel, one pass over x."""

from __future__ import annotations

import torch
from torch import Tensor


def norm_stats(out: Tensor, x: Tensor) -> None:
    """Fill `out`; see `spec`."""
    variance, mean = torch.var_mean(x.to(out.dtype), (2, 3), correction=0)
    out[..., 0] = mean
    out[..., 1] = variance
