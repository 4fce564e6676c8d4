"""`philox_normal` by PyTorch's own kernels, in float64."""

from __future__ import annotations

from torch import Tensor

from genfuse_kernels.philox_normal import reference


def philox_normal(out: Tensor, seeds: Tensor, row: int | Tensor, stream: int) -> None:
    """Fill `out` (N, *S); see `spec`."""
    out.copy_(reference.philox_normal(seeds, tuple(out.shape), row, stream, out.dtype))
