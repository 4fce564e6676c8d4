"""`philox_lerp` by its definition, as a launcher."""

from __future__ import annotations

from torch import Tensor

from genfuse_kernels.philox_lerp import reference


def philox_lerp(out: Tensor, start: Tensor | None, end: Tensor | None, seed: int, first: int) -> None:
    """Fill `out`; see `spec`."""
    out.copy_(reference.philox_lerp(start, end, seed, first))
