"""`attention` in plain PyTorch: the definition of the op."""

from __future__ import annotations

from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """The output (N, heads, L, E); see `spec`."""
    scores = (q * scale) @ k.transpose(-1, -2)
    return scores.softmax(dim=-1) @ v
