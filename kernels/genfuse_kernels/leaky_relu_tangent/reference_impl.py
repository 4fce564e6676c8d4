"""`leaky_relu_tangent` by its definition, as a launcher."""

from __future__ import annotations

from torch import Tensor

from genfuse_kernels.leaky_relu_tangent import reference


def leaky_relu_tangent(
    out: Tensor, tangent: Tensor, mask: Tensor, negative_slope: float, positive_slope: float = 1.0
) -> None:
    """Fill `out`; see `spec`."""
    out.copy_(reference.leaky_relu_tangent(tangent, mask, negative_slope, positive_slope))
