"""`norm_direction` by its definition, as a launcher."""

from __future__ import annotations

from torch import Tensor

from genfuse_kernels.norm_direction import reference


def norm_direction(norms: Tensor, direction: Tensor, x: Tensor) -> None:
    """Fill `norms` and `direction`; see `spec`."""
    of_samples, directions = reference.norm_direction(x)
    norms.copy_(of_samples)
    direction.copy_(directions)
