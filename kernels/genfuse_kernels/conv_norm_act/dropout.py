"""What the GPU's kernels need to be told of dropout."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from genfuse_kernels.conv_norm_act.settings import Settings


class Dropout(NamedTuple):
    """Kept is an element whose 23 random bits are at least `threshold`, times `keep`; `seeds` None: all of them."""

    seeds: Tensor | None
    stream: int
    threshold: int
    keep: float

    @classmethod
    def of(cls, s: Settings, seeds: Tensor | None) -> Dropout:
        """A unit's; its seeds dense."""
        dense = seeds.contiguous() if s.dropout > 0 and seeds is not None else None
        return cls(dense, s.dropout_stream, math.ceil(s.dropout * 2**23 - 0.5), 1 / (1 - s.dropout))
