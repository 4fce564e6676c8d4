"""What dropout needs to be told in CUDA: csrc/common/cuda/dropout.h."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from genfuse_kernels.conv_norm_act.settings import Settings

DROPOUT = np.dtype([("seeds", "u8"), ("stream", "i8"), ("threshold", "i8"), ("keep", "f8")])
"""The kernels' `DropoutArguments`."""


def dropped_seeds(s: Settings, seeds: Tensor | None) -> Tensor | None:
    """Those that masks are drawn from, dense; None where nothing is dropped."""
    return seeds.contiguous() if s.dropout > 0 and seeds is not None else None


def dropout_field(s: Settings, seeds: Tensor | None) -> tuple[int, int, int, float]:
    """`DROPOUT` of `dropped_seeds`'s, which outlive the launch."""
    address = 0 if seeds is None else seeds.data_ptr()
    return address, s.dropout_stream, math.ceil(s.dropout * 2**23 - 0.5), 1 / (1 - s.dropout)
