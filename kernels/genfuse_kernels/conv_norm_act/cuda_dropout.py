"""Dropout as CUDA kernels are told of it: csrc/common/cuda/dropout.h."""

from __future__ import annotations

import numpy as np

from genfuse_kernels.conv_norm_act.dropout import Dropout

DROPOUT = np.dtype([("seeds", "u8"), ("stream", "i8"), ("threshold", "i8"), ("keep", "f8")])
"""The kernels' `DropoutArguments`."""


def dropout_field(dropout: Dropout) -> tuple[int, int, int, float]:
    """`DROPOUT` of what outlives the launch."""
    seeds, stream, threshold, keep = dropout
    return 0 if seeds is None else seeds.data_ptr(), stream, threshold, keep
