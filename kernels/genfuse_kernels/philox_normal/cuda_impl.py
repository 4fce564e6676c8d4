"""`philox_normal` by the CUDA kernel: csrc/philox_normal/cuda.cu."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_launch import launch
from genfuse_kernels.common.cuda_walk import OPERAND, WALK, addressed, operand_field, walk
from genfuse_kernels.common.planes import as_planes

ARGUMENTS = np.dtype(
    [
        ("out", OPERAND),
        ("seeds", "u8"),
        ("seeds_stride", "i8"),
        ("rows", "u8"),
        ("rows_stride", "i8"),
        ("row", "i8"),
        ("stream", "i8"),
        ("walk", WALK),
    ]
)
"""The kernel's `PhiloxNormalArguments`."""


def philox_normal(out: Tensor, seeds: Tensor, row: int | Tensor, stream: int) -> None:
    """Fill `out` (N, *S) with the normals of `spec`; seeds (N,) int64, row int or int64 (N,) on the device.

    No host synchronisation. An `out` whose positions don't collapse to one stride is filled through a
    contiguous buffer.
    """
    if out.numel() == 0:
        return
    written = as_planes(out)
    plan = walk([written], draws=True)
    rows = row if isinstance(row, Tensor) else None
    arguments = np.array(
        (
            operand_field(written),
            *addressed(seeds),
            *addressed(rows),
            row if rows is None else 0,
            stream,
            plan.sizes,
        ),
        dtype=ARGUMENTS,
    )
    launch(Kernel("philox_normal", out.dtype, plan.order, plan.wide), plan.blocks, arguments, out.device)
    if written is not out:
        out.copy_(written)
