"""`upfirdn2d` by its definition, as a launcher."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from genfuse_kernels.upfirdn2d import reference


def upfirdn2d(
    out: Tensor,
    x: Tensor,
    f: Tensor,
    up: Sequence[int],
    down: Sequence[int],
    padding: Sequence[int],
    flip_filter: bool,
    gain: float,
) -> None:
    """Fill `out`; see `spec`."""
    if out.numel():
        out.copy_(reference.upfirdn2d(x, f, up, down, padding, flip_filter, gain))
