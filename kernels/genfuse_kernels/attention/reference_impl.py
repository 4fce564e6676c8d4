"""`attention` by its definition, as a launcher."""

from __future__ import annotations

from torch import Tensor

from genfuse_kernels.attention import reference


def attention(out: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float) -> None:
    """Fill `out`; see `spec`."""
    out.copy_(reference.attention(q, k, v, scale))
