"""`ema_update` in Triton."""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.tensor_table import (
    dense,
    in_chunks,
    number_of,
    ordered_as,
    rest_of,
    run_of,
    tables,
    tile_of,
)


@triton.jit
def _move(average, parameter, offset, exists, decay, TYPE: tl.constexpr, COMPUTE: tl.constexpr):
    far = decay <= 0.5
    factor = tl.where(far, -decay, 1.0 - decay).to(COMPUTE)
    a = tl.load(average + offset, mask=exists, other=0.0).to(COMPUTE)
    p = tl.load(parameter + offset, mask=exists, other=0.0).to(COMPUTE)
    moved = tl.where(far, p, a) + factor * (p - a)
    tl.store(average + offset, moved.to(TYPE), mask=exists)


@triton.jit
def ema_update_kernel(
    rows,
    TYPE0: tl.constexpr,
    TYPE1: tl.constexpr,
    COMPUTE: tl.constexpr,
    ALIGNED: tl.constexpr,
    TILE: tl.constexpr,
):
    """Every so many tiles of one average; `torch.lerp`'s two forms, from the nearer end."""
    row = rows + tl.program_id(0).to(tl.int64) * 4
    average, parameter = run_of(row, 0, TYPE0, ALIGNED), run_of(row, 1, TYPE1, ALIGNED)
    numel = tl.load(row + 2)
    decay = number_of(row, 3)
    chunks = in_chunks(numel)
    for tile in range(tl.program_id(1), tl.cdiv(chunks, TILE), tl.num_programs(1)):
        offset, exists = tile_of(tile, chunks, TILE)
        _move(average, parameter, offset, exists, decay, TYPE0, COMPUTE)
    if tl.program_id(1) == 0:
        offset, exists = rest_of(numel)
        _move(average, parameter, offset, exists, decay, TYPE0, COMPUTE)


def ema_update(averages: Sequence[Tensor], parameters: Sequence[Tensor], decay: float) -> None:
    """Change `averages` in place; see `spec`. No host synchronisation; averages with gaps go through a copy."""
    if not averages:
        return
    with dense(averages) as runs:
        sources = [ordered_as(parameter, run) for parameter, run in zip(parameters, runs, strict=True)]
        for table in tables((runs, sources), decay):
            ema_update_kernel[table.grid](table.rows, **table.constants)
