"""`clip_grad_norm` in Triton: sums of squares by program, their root by one program, and the scaling.

The coefficient is read on the device: where it is 1 or more, the programs of the last launch end without reading a
gradient, and the host waits for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.clip_grad_norm.spec import EPSILON
from genfuse_kernels.common.tensor_table import (
    SHARE,
    dense,
    in_chunks,
    number_of,
    rest_of,
    run_of,
    tables,
    tile_of,
)

_EPSILON = tl.constexpr(EPSILON)


@triton.jit
def sum_squares_kernel(
    rows, sums, TYPE0: tl.constexpr, COMPUTE: tl.constexpr, ALIGNED: tl.constexpr, TILE: tl.constexpr
):
    """The squares of every so many tiles of one gradient, in float64, lane by lane, then across the lanes."""
    row = rows + tl.program_id(0).to(tl.int64) * 3
    gradient = run_of(row, 0, TYPE0, ALIGNED)
    numel = tl.load(row + 1)
    chunks = in_chunks(numel)
    total = tl.zeros((TILE,), tl.float64)
    for tile in range(tl.program_id(1), tl.cdiv(chunks, TILE), tl.num_programs(1)):
        offset, exists = tile_of(tile, chunks, TILE)
        value = tl.load(gradient + offset, mask=exists, other=0.0).to(COMPUTE).to(tl.float64)
        total += value * value
    found = tl.sum(total)
    if tl.program_id(1) == 0:
        offset, exists = rest_of(numel)
        value = tl.load(gradient + offset, mask=exists, other=0.0).to(COMPUTE).to(tl.float64)
        found += tl.sum(value * value)
    tl.store(sums + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), found)


@triton.jit
def norm_kernel(sums, count, norm, TILE: tl.constexpr):
    """The root of all sums, in one program and so in one order."""
    total = tl.zeros((TILE,), tl.float64)
    for tile in range(tl.cdiv(count, TILE)):
        offset = tile * TILE + tl.arange(0, TILE)
        total += tl.load(sums + offset, mask=offset < count, other=0.0)
    tl.store(norm, tl.sqrt(tl.sum(total)).to(norm.dtype.element_ty))


@triton.jit
def _scale(gradient, offset, exists, coefficient, TYPE: tl.constexpr, COMPUTE: tl.constexpr):
    value = tl.load(gradient + offset, mask=exists, other=0.0).to(COMPUTE)
    tl.store(gradient + offset, (value * coefficient.to(COMPUTE)).to(TYPE), mask=exists)


@triton.jit
def scale_kernel(
    rows, norm, TYPE0: tl.constexpr, COMPUTE: tl.constexpr, ALIGNED: tl.constexpr, TILE: tl.constexpr
):
    """Every so many tiles of one gradient, times the coefficient where that is below 1, or NaN."""
    row = rows + tl.program_id(0).to(tl.int64) * 3
    coefficient = number_of(row, 2) / (tl.load(norm).to(tl.float64) + _EPSILON)
    if not (coefficient >= 1.0):
        gradient = run_of(row, 0, TYPE0, ALIGNED)
        numel = tl.load(row + 1)
        chunks = in_chunks(numel)
        for tile in range(tl.program_id(1), tl.cdiv(chunks, TILE), tl.num_programs(1)):
            offset, exists = tile_of(tile, chunks, TILE)
            _scale(gradient, offset, exists, coefficient, TYPE0, COMPUTE)
        if tl.program_id(1) == 0:
            offset, exists = rest_of(numel)
            _scale(gradient, offset, exists, coefficient, TYPE0, COMPUTE)


def clip_grad_norm(norm: Tensor, gradients: Sequence[Tensor], max_norm: float, only_finite: bool) -> None:
    """Fill `norm` and change `gradients` in place; see `spec`. The host waits for the norm with only_finite alone."""
    sums = torch.empty(len(gradients) * SHARE, dtype=torch.float64, device=norm.device)
    with dense(gradients) as runs:
        launches, first = list(tables((runs,), max_norm)), 0
        for table in launches:
            sum_squares_kernel[table.grid](table.rows, sums[first:], **table.constants)
            first += table.grid[0] * SHARE
        norm_kernel[(1,)](sums, first, norm, TILE=1024, num_warps=4, enable_fp_fusion=True)
        if only_finite and not torch.isfinite(norm):
            return
        for table in launches:
            scale_kernel[table.grid](table.rows, norm, **table.constants)
