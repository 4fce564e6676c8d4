"""`sampler_reduce` by the C++ kernel: csrc/sampler_reduce."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES, host_table, rows_of, view


def sampler_reduce(
    scales: Tensor,
    x: Tensor,
    model_output: Tensor,
    table: Tensor,
    index: int | Tensor,
    *,
    uncond: Tensor | None = None,
) -> None:
    """Write guidance factor and threshold of each sample into `scales` (N, 2); see `spec`.

    Shapes, dtypes and devices are the caller's to check (`genfuse.ops.sampler_reduce`). ValueError, with nothing
    written, for a row out of range or not finite.
    """
    host = host_table(table)
    row, rows = rows_of(index, x.shape[0])
    dense = (
        scales if scales.is_contiguous() else torch.empty_like(scales, memory_format=torch.contiguous_format)
    )
    _cpu.sampler_reduce(
        DTYPE_CODES[x.dtype],
        tuple(x.shape),
        (x.data_ptr(), x.stride()),
        view(model_output),
        view(uncond),
        host.data_ptr(),
        host.shape[0],
        row,
        0 if rows is None else rows.data_ptr(),
        dense.data_ptr(),
        torch.get_num_threads(),
    )
    if dense is not scales:
        scales.copy_(dense)
