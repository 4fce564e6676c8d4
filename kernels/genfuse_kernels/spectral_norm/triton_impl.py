"""`spectral_norm` and its gradient in Triton: all layers of one dtype in each launch, by a table of their addresses.

A step is three launches. A program takes a block of a matrix's rows: their products with v and then, from the L2
cache, their share of the transposed product, before u is normalised, which is a factor of the sum. Shares are added by
columns, in one order, and one program a layer makes v and sigma. The division is one launch more, the gradient two.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.target import warps_of
from genfuse_kernels.common.tensor_table import (
    SHARE,
    THREADS,
    TILE,
    number_of,
    rows_on,
    run_of,
    tile_of,
)
from genfuse_kernels.spectral_norm.spec import ROWS, VECTOR, sizes

_TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}

COLUMNS = 128
"""Of a program's tile of a matrix, beside ROWS."""

_LEAST = tl.constexpr(1e-37)
"""A block's products are divided by their largest, and by this at least: what has a finite reciprocal."""


@triton.jit
def layer_of(table, UNIT: tl.constexpr):
    """A layer's row of the table, its rows, inner size and columns, and where its vectors and its scratch begin."""
    row = table + tl.program_id(0) * 11
    rows = tl.load(row + 7).to(tl.int32)
    inner = tl.multiple_of(tl.load(row + 8).to(tl.int32), UNIT)
    columns = tl.multiple_of(tl.load(row + 9).to(tl.int32), UNIT)
    return row, rows, inner, columns, tl.load(row + 4), tl.load(row + 5)


@triton.jit
def places_of(r, c, rows, inner, columns):
    """Offsets (R, C) of a matrix's elements in the dense weight, and which of them exist."""
    offset = (c // inner).to(tl.int64) * rows * inner + c % inner
    return offset[None, :] + (r.to(tl.int64) * inner)[:, None], (r < rows)[:, None] & (c < columns)[None, :]


@triton.jit
def least(norm, row):
    """The norm, and eps at least; NaN stays."""
    eps = number_of(row, 10)
    return tl.where(norm < eps, eps, norm)


@triton.jit
def norm_of(vector, size, VECTOR: tl.constexpr):
    """Of a vector, in float64."""
    total = tl.zeros((VECTOR,), tl.float64)
    for start in range(0, size, VECTOR):
        i = start + tl.arange(0, VECTOR)
        value = tl.load(vector + i, mask=i < size, other=0.0).to(tl.float64)
        total += value * value
    return tl.sqrt(tl.sum(total))


@triton.jit
def products_kernel(
    table, vectors, scratch, TYPE: tl.constexpr, UNIT: tl.constexpr, FIRST: tl.constexpr,
    SHARES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """W·v of a block of rows; with SHARES also this over its largest, times the rows: a share of Wᵀ·W·v.

    scratch  of a layer: (rows,) products, (blocks,) the largest of each block, (blocks, columns) shares
    """
    row, rows, inner, columns, kept, room = layer_of(table, UNIT)
    block = tl.program_id(1)
    weight, scratch = run_of(row, 0, TYPE, UNIT > 1), scratch + room
    v = run_of(row, 2, TYPE, False) if FIRST else vectors + kept + rows
    r = block * ROWS + tl.arange(0, ROWS)
    if block * ROWS < rows:
        total = tl.zeros((ROWS, COLUMNS), tl.float32)
        for start in range(0, columns, COLUMNS):
            c = start + tl.arange(0, COLUMNS)
            place, exists = places_of(r, c, rows, inner, columns)
            value = tl.load(weight + place, mask=exists, other=0.0).to(tl.float32)
            total += value * tl.load(v + c, mask=c < columns, other=0.0).to(tl.float32)[None, :]
        product = tl.sum(total, 1)
        tl.store(scratch + r, product, mask=r < rows)
        if SHARES:
            largest = tl.maximum(tl.max(tl.abs(product), 0), _LEAST)
            blocks = tl.cdiv(rows, ROWS)
            tl.store(scratch + rows + block, largest)
            shares = scratch + rows + blocks + block.to(tl.int64) * columns
            for start in range(0, columns, COLUMNS):
                c = start + tl.arange(0, COLUMNS)
                place, exists = places_of(r, c, rows, inner, columns)
                value = tl.load(weight + place, mask=exists, other=0.0).to(tl.float32)
                tl.store(shares + c, tl.sum(value * (product / largest)[:, None], 0), mask=c < columns)


@triton.jit
def columns_kernel(table, vectors, scratch, UNIT: tl.constexpr, ROWS: tl.constexpr, VECTOR: tl.constexpr):
    """Wᵀ·u of a block of columns, where v will be; one program a layer writes u."""
    row, rows, _, columns, kept, room = layer_of(table, UNIT)
    scratch += room
    vectors += kept
    c = tl.program_id(1) * VECTOR + tl.arange(0, VECTOR)
    if tl.program_id(1) * VECTOR < columns:
        norm = least(norm_of(scratch, rows, VECTOR), row)
        blocks = tl.cdiv(rows, ROWS)
        shares = scratch + rows + blocks
        total = tl.zeros((VECTOR,), tl.float32)
        for block in range(blocks):
            factor = (tl.load(scratch + rows + block).to(tl.float64) / norm).to(tl.float32)
            total += factor * tl.load(shares + c, mask=c < columns, other=0.0)
            shares += columns
        tl.store(vectors + rows + c, total, mask=c < columns)
        if tl.program_id(1) == 0:
            for start in range(0, rows, VECTOR):
                r = start + tl.arange(0, VECTOR)
                product = tl.load(scratch + r, mask=r < rows, other=0.0).to(tl.float64)
                tl.store(vectors + r, (product / norm).to(tl.float32), mask=r < rows)


@triton.jit
def norms_kernel(
    table, vectors, scratch, sigmas, TYPE: tl.constexpr, UNIT: tl.constexpr, STEPS: tl.constexpr,
    LAST: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """v and sigma of a layer, which is v's norm before it is normalised; without a step u·(W·v)."""
    row, rows, _, columns, kept, room = layer_of(table, UNIT)
    u, v = run_of(row, 1, TYPE, False), run_of(row, 2, TYPE, False)
    vectors += kept
    if STEPS:
        norm = norm_of(vectors + rows, columns, VECTOR)
        by = least(norm, row)
        sigma = norm * norm / by
        for start in range(0, columns, VECTOR):
            c = start + tl.arange(0, VECTOR)
            value = tl.load(vectors + rows + c, mask=c < columns, other=0.0).to(tl.float64) / by
            tl.store(vectors + rows + c, value.to(tl.float32), mask=c < columns)
            if LAST:
                tl.store(v + c, value.to(tl.float32).to(TYPE), mask=c < columns)
        if LAST:
            for start in range(0, rows, VECTOR):
                r = start + tl.arange(0, VECTOR)
                value = tl.load(vectors + r, mask=r < rows, other=0.0)
                tl.store(u + r, value.to(TYPE), mask=r < rows)
    else:
        total = tl.zeros((VECTOR,), tl.float64)
        for start in range(0, rows, VECTOR):
            r = start + tl.arange(0, VECTOR)
            value = tl.load(u + r, mask=r < rows, other=0.0).to(tl.float32)
            total += value.to(tl.float64) * tl.load(scratch + room + r, mask=r < rows, other=0.0).to(
                tl.float64
            )
            tl.store(vectors + r, value, mask=r < rows)
        sigma = tl.sum(total)
        for start in range(0, columns, VECTOR):
            c = start + tl.arange(0, VECTOR)
            value = tl.load(v + c, mask=c < columns, other=0.0).to(tl.float32)
            tl.store(vectors + rows + c, value, mask=c < columns)
    tl.store(sigmas + tl.load(row + 6), sigma.to(tl.float32))


@triton.jit
def divide_kernel(table, sigmas, TYPE: tl.constexpr, UNIT: tl.constexpr, TILE: tl.constexpr):
    """Every so many tiles of one weight over its sigma."""
    row, rows, _, columns, _, _ = layer_of(table, UNIT)
    weight, out = run_of(row, 0, TYPE, UNIT > 1), run_of(row, 3, TYPE, UNIT > 1)
    sigma = tl.load(sigmas + tl.load(row + 6))
    numel = rows.to(tl.int64) * columns
    for tile in range(tl.program_id(1), tl.cdiv(numel, TILE), tl.num_programs(1)):
        offset, exists = tile_of(tile, numel, TILE)
        value = tl.load(weight + offset, mask=exists, other=0.0).to(tl.float32)
        tl.store(out + offset, (value / sigma).to(TYPE), mask=exists)


@triton.jit
def dots_kernel(
    table, dots, TYPE: tl.constexpr, UNIT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Σ(gradient∘normalised) over a block of rows."""
    row, rows, inner, columns, _, _ = layer_of(table, UNIT)
    block = tl.program_id(1)
    gradient, quotient = run_of(row, 0, TYPE, UNIT > 1), run_of(row, 1, TYPE, UNIT > 1)
    r = block * ROWS + tl.arange(0, ROWS)
    if block * ROWS < rows:
        total = tl.zeros((ROWS, COLUMNS), tl.float32)
        for start in range(0, columns, COLUMNS):
            place, exists = places_of(r, start + tl.arange(0, COLUMNS), rows, inner, columns)
            value = tl.load(gradient + place, mask=exists, other=0.0).to(tl.float32)
            total += value * tl.load(quotient + place, mask=exists, other=0.0).to(tl.float32)
        place = tl.program_id(0) * tl.num_programs(1) + block
        tl.store(dots + place, tl.sum(tl.sum(total, 1).to(tl.float64), 0))


@triton.jit
def gradient_kernel(
    table, vectors, sigmas, dots, TYPE: tl.constexpr, UNIT: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """(gradient − Σ(gradient∘normalised)·u·vᵀ)/sigma of a block of rows."""
    row, rows, inner, columns, kept, _ = layer_of(table, UNIT)
    block = tl.program_id(1)
    gradient, out = run_of(row, 0, TYPE, UNIT > 1), run_of(row, 3, TYPE, UNIT > 1)
    vectors += kept
    r = block * ROWS + tl.arange(0, ROWS)
    if block * ROWS < rows:
        dots += tl.program_id(0) * tl.num_programs(1)
        sums = tl.zeros((VECTOR,), tl.float64)
        blocks = tl.cdiv(rows, ROWS)
        for start in range(0, blocks, VECTOR):
            i = start + tl.arange(0, VECTOR)
            sums += tl.load(dots + i, mask=i < blocks, other=0.0)
        sigma = tl.load(sigmas + tl.load(row + 6))
        u = tl.load(vectors + r, mask=r < rows, other=0.0) * tl.sum(sums).to(tl.float32)
        for start in range(0, columns, COLUMNS):
            c = start + tl.arange(0, COLUMNS)
            place, exists = places_of(r, c, rows, inner, columns)
            v = tl.load(vectors + rows + c, mask=c < columns, other=0.0)
            value = tl.load(gradient + place, mask=exists, other=0.0).to(tl.float32)
            tl.store(out + place, ((value - u[:, None] * v[None, :]) / sigma).to(TYPE), mask=exists)


class Table(NamedTuple):
    """Layers of one dtype and alignment, and how many programs the largest of them takes."""

    rows: Tensor
    blocks: tuple[int, int]
    parts: tuple[int, int]
    shares: tuple[int, int]
    constants: dict[str, Any]


def tables(lists: Sequence[Sequence[Tensor]], dims: Sequence[int], eps: float) -> Iterator[Table]:
    """Of dense weights or gradients, then what stands beside each; scratch as `room` counts it."""
    bits = int.from_bytes(struct.pack("<d", eps), "little", signed=True)
    groups: dict[tuple[torch.dtype, int], list[tuple[int, ...]]] = {}
    kept = room = 0
    for number, (layer, dim) in enumerate(zip(zip(*lists, strict=True), dims, strict=True)):
        outer, rows, inner = sizes(layer[0].shape, dim)
        addresses, itemsize = [tensor.data_ptr() for tensor in layer], layer[0].element_size()
        wide = inner * itemsize % 16 == 0 and all(address % 16 == 0 for address in addresses)
        row = (*addresses, kept, room, number, rows, inner, outer * inner, bits)
        groups.setdefault((layer[0].dtype, 16 // itemsize if wide else 1), []).append(row)
        kept += rows + outer * inner
        room += rows + triton.cdiv(rows, ROWS) * (outer * inner + 1)
    for (dtype, unit), found in groups.items():
        most_rows, most_columns = max(row[7] for row in found), max(row[9] for row in found)
        yield Table(
            rows_on(lists[0][0].device, found),
            (len(found), triton.cdiv(most_rows, ROWS)),
            (len(found), triton.cdiv(most_columns, VECTOR)),
            (len(found), SHARE),
            {
                "TYPE": _TYPES[dtype],
                "UNIT": unit,
                "enable_fp_fusion": True,
                "num_warps": warps_of(THREADS),
            },
        )


def _room(weights: Sequence[Tensor], dims: Sequence[int]) -> int:
    """Elements of scratch of all layers."""
    of_layers = (sizes(weight.shape, dim) for weight, dim in zip(weights, dims, strict=True))
    return sum(rows + triton.cdiv(rows, ROWS) * (outer * inner + 1) for outer, rows, inner in of_layers)


def spectral_norm(
    normalised: Sequence[Tensor],
    sigmas: Tensor,
    vectors: Tensor,
    weights: Sequence[Tensor],
    us: Sequence[Tensor],
    vs: Sequence[Tensor],
    dims: Sequence[int],
    steps: int,
    eps: float,
) -> None:
    """Fill `normalised`, `sigmas` and `vectors`, and change `us` and `vs` in place; see `spec`."""
    dense = [weight.contiguous() for weight in weights]
    scratch = torch.empty(_room(dense, dims), dtype=torch.float32, device=sigmas.device)
    tile = {"ROWS": ROWS, "COLUMNS": COLUMNS}
    for table in tables((dense, us, vs, normalised), dims, eps):
        of = table.constants
        without_type = {name: value for name, value in of.items() if name != "TYPE"}
        for step in range(max(steps, 1)):
            places, shares = (table.rows, vectors, scratch), steps > 0
            products_kernel[table.blocks](*places, **of, **tile, FIRST=step == 0, SHARES=shares)
            if shares:
                columns_kernel[table.parts](*places, **without_type, ROWS=ROWS, VECTOR=VECTOR)
            last = step == steps - 1
            norms_kernel[(table.blocks[0],)](*places, sigmas, **of, STEPS=shares, LAST=last, VECTOR=VECTOR)
        divide_kernel[table.shares](table.rows, sigmas, **of, TILE=TILE)


def spectral_norm_gradient(
    out: Sequence[Tensor],
    gradients: Sequence[Tensor],
    normalised: Sequence[Tensor],
    sigmas: Tensor,
    vectors: Tensor,
    dims: Sequence[int],
) -> None:
    """Fill `out`; see `spec`."""
    dense = [gradient.contiguous() for gradient in gradients]
    tile = {"ROWS": ROWS, "COLUMNS": COLUMNS}
    for table in tables((dense, normalised, normalised, out), dims, 0.0):
        dots = torch.empty(table.blocks, dtype=torch.float64, device=sigmas.device)
        dots_kernel[table.blocks](table.rows, dots, **table.constants, **tile)
        gradient_kernel[table.blocks](
            table.rows, vectors, sigmas, dots, **table.constants, **tile, VECTOR=VECTOR
        )
