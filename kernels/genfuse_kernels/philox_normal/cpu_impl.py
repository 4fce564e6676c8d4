"""`philox_normal` by the C++ kernel: csrc/philox_normal."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES, rows_of


def philox_normal(out: Tensor, seeds: Tensor, row: int | Tensor, stream: int) -> None:
    """Fill `out` (N, ...) with the normals of `seeds` (N,), row and stream; see `spec`.

    ValueError, with nothing written, for a row that does not fit 32 bits or seeds of the wrong count.
    """
    if tuple(seeds.shape) != (out.shape[0],):
        raise ValueError(
            f"seeds has shape {tuple(seeds.shape)}, expected ({out.shape[0]},): one seed a sample"
        )
    first, rows = rows_of(row, out.shape[0])
    seeds = seeds.contiguous()
    _cpu.philox_normal(
        DTYPE_CODES[out.dtype],
        tuple(out.shape),
        (out.data_ptr(), out.stride()),
        seeds.data_ptr(),
        0 if rows is None else rows.data_ptr(),
        first,
        stream,
        torch.get_num_threads(),
    )
