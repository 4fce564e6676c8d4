"""What the norms come to on a GPU: four numbers a channel, or two a pixel where a pixel is normalised.

    n = (x − mean)·rstd·scale + offset       scale = norm_weight·(1 + film_scale)
                                             offset = norm_bias·(1 + film_scale) + film_shift

The table (N, C, 4) float32 holds mean, rstd, scale and offset; of a norm per pixel mean and rstd are (N, H·W, 2), and
0 and 1 in the first. x − mean is formed first, so that a large mean cancels nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings


class Table(NamedTuple):
    """`channels` None where nothing is normalised, scaled or shifted; `pixels` where a pixel is normalised."""

    channels: Tensor | None
    pixels: Tensor | None


def is_identity(s: Settings, tensors: NormTensors) -> bool:
    """Whether nothing is normalised, scaled or shifted."""
    given = ("norm_weight", "norm_bias", "film_scale", "film_shift")
    return s.norm == "none" and all(tensors.get(name) is None for name in given)
