"""`clip_weights` in Triton."""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.tensor_table import (
    dense,
    in_chunks,
    number_of,
    rest_of,
    run_of,
    tables,
    tile_of,
)


@triton.jit
def _clip(parameter, offset, exists, bound, TYPE: tl.constexpr, COMPUTE: tl.constexpr):
    value = tl.load(parameter + offset, mask=exists, other=0.0).to(COMPUTE)
    value = tl.where(value < -bound, -bound, tl.where(value > bound, bound, value))
    tl.store(parameter + offset, value.to(TYPE), mask=exists)


@triton.jit
def clip_weights_kernel(
    rows, TYPE0: tl.constexpr, COMPUTE: tl.constexpr, ALIGNED: tl.constexpr, TILE: tl.constexpr
):
    """Every so many tiles of one parameter."""
    row = rows + tl.program_id(0).to(tl.int64) * 3
    parameter = run_of(row, 0, TYPE0, ALIGNED)
    numel = tl.load(row + 1)
    bound = number_of(row, 2).to(COMPUTE)
    chunks = in_chunks(numel)
    for tile in range(tl.program_id(1), tl.cdiv(chunks, TILE), tl.num_programs(1)):
        offset, exists = tile_of(tile, chunks, TILE)
        _clip(parameter, offset, exists, bound, TYPE0, COMPUTE)
    if tl.program_id(1) == 0:
        offset, exists = rest_of(numel)
        _clip(parameter, offset, exists, bound, TYPE0, COMPUTE)


def clip_weights(parameters: Sequence[Tensor], bound: float) -> None:
    """Change `parameters` in place; see `spec`. No host synchronisation; those with gaps go through a copy."""
    if not parameters:
        return
    with dense(parameters) as runs:
        for table in tables((runs,), bound):
            clip_weights_kernel[table.grid](table.rows, **table.constants)
