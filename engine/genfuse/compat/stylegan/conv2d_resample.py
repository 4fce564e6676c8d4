"""stylegan3's `torch_utils.ops.conv2d_resample`, by `genfuse.ops.conv2d_resample`."""

from __future__ import annotations

from torch import Tensor

from genfuse.ops.conv2d_resample import conv2d_resample as of_engine
from genfuse.ops.upfirdn2d import Factors


def conv2d_resample(
    x: Tensor,
    w: Tensor,
    f: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Factors = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> Tensor:
    """`genfuse.ops.conv2d_resample`, f as `upfirdn2d.setup_filter` makes it."""
    return of_engine(x, w, f, up, down, padding, groups, flip_weight, flip_filter)
