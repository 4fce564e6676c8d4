"""`philox_lerp` in plain PyTorch: the definition of the op."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels.philox_normal.reference import philox_words
from genfuse_kernels.philox_normal.spec import STREAM_INTERPOLATION


def weights(samples: int, seed: int, first: int, device: torch.device | None = None) -> Tensor:
    """u of each sample, float64 (N,); see `spec`."""
    rows = torch.arange(first, first + samples, dtype=torch.int64, device=device)
    words = philox_words(torch.full_like(rows, seed), 1, rows, STREAM_INTERPOLATION)[:, 0]
    return ((words >> 9).to(torch.float64) + 0.5) * 2.0**-23


def philox_lerp(start: Tensor | None, end: Tensor | None, seed: int, first: int = 0) -> Tensor:
    """Like start and end, of which one may be absent; see `spec`."""
    like = start if start is not None else end
    assert like is not None
    compute = torch.float64 if like.dtype == torch.float64 else torch.float32
    u = weights(like.shape[0], seed, first, like.device).to(compute).reshape(-1, *(1,) * (like.ndim - 1))
    parts = [part for part in (_times(start, 1 - u), _times(end, u)) if part is not None]
    return sum(parts[1:], parts[0]).to(like.dtype)


def _times(source: Tensor | None, factor: Tensor) -> Tensor | None:
    return None if source is None else source.to(factor.dtype) * factor
