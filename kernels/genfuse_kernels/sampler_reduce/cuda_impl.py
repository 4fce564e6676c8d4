"""`sampler_reduce` by the CUDA kernel: csrc/sampler_reduce/cuda.cu."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_launch import launch
from genfuse_kernels.common.cuda_walk import OPERAND, WALK, operand_field, walk
from genfuse_kernels.common.planes import fit
from genfuse_kernels.sampler_step.cuda_row import ROW, row_field

THREADS = 512
"""Threads of a sample's block."""

ARGUMENTS = np.dtype(
    [
        ("scales", "u8"),
        ("x", OPERAND),
        ("model_output", OPERAND),
        ("uncond", OPERAND),
        ("row", ROW),
        ("walk", WALK),
    ]
)
"""The kernel's `SamplerReduceArguments`."""


def sampler_reduce(
    scales: Tensor,
    x: Tensor,
    model_output: Tensor,
    table: Tensor,
    index: int | Tensor,
    *,
    uncond: Tensor | None,
) -> None:
    """Fill `scales` (N, 2) as `spec` says, without a host synchronisation; a row the table lacks gives NaN.

    index: int, or int64 of one or N elements. Strides as in `sampler_step`.
    """
    if scales.numel() == 0:
        return
    written = scales.contiguous()
    if x.numel() == 0:
        written[:, 0] = 1
        written[:, 1] = math.inf
    else:
        operands = [fit(tensor) for tensor in (x, model_output, uncond)]
        plan = walk(operands, draws=False, threads=THREADS)
        table = table.contiguous()
        arguments = np.array(
            (written.data_ptr(), *map(operand_field, operands), row_field(table, index), plan.sizes),
            dtype=ARGUMENTS,
        )
        kernel = Kernel("sampler_reduce", x.dtype, plan.order, plan.wide)
        launch(kernel, x.shape[0], arguments, x.device, THREADS)
    if written is not scales:
        scales.copy_(written)
