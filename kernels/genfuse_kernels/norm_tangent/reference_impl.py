"""`norm_tangent` by its definition, as a launcher."""

from __future__ import annotations

from torch import Tensor

from genfuse_kernels.norm_tangent import reference


def norm_tangent(out: Tensor, x: Tensor, tangent: Tensor, weight: Tensor | None, eps: float) -> None:
    """Fill `out`; see `spec`."""
    out.copy_(reference.norm_tangent(x, tangent, weight, eps))
