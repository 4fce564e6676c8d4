"""`clip_weights` in Triton."""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.tensor_table import dense, number_of, run_of, tables, tile_of


@triton.jit
def clip_weights_kernel(
    rows, TYPE0: tl.constexpr, COMPUTE: tl.constexpr, ALIGNED: tl.constexpr, TILE: tl.constexpr
):
    """Every so many tiles of one parameter."""
    row = rows + tl.program_id(0).to(tl.int64) * 3
    parameter = run_of(row, 0, TYPE0, ALIGNED)
    numel = tl.load(row + 1)
    bound = number_of(row, 2).to(COMPUTE)
    for tile in range(tl.program_id(1), tl.cdiv(numel, TILE), tl.num_programs(1)):
        offset, exists = tile_of(tile, numel, TILE)
        value = tl.load(parameter + offset, mask=exists, other=0.0).to(COMPUTE)
        value = tl.where(value < -bound, -bound, tl.where(value > bound, bound, value))
        tl.store(parameter + offset, value.to(TYPE0), mask=exists)


def clip_weights(parameters: Sequence[Tensor], bound: float) -> None:
    """Change `parameters` in place; see `spec`. No host synchronisation; those with gaps go through a copy."""
    if not parameters:
        return
    with dense(parameters) as runs:
        for table in tables((runs,), bound):
            clip_weights_kernel[table.grid](table.rows, **table.constants)
