"""`philox_normal` in Triton."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.layout import pointers, tile_elements, walk
from genfuse_kernels.common.philox import normal_quads
from genfuse_kernels.common.planes import fit, operand


@triton.jit(do_not_specialize=["row", "stream"])
def philox_normal_kernel(
    out,
    seeds,
    seeds_stride,
    row,
    row_stride,
    stream,
    tiles,
    channels,
    positions,
    ORDER: tl.constexpr,
    QUADS: tl.constexpr,
    WIDE: tl.constexpr,
    COMPUTE: tl.constexpr,
):
    """A tile of one sample's normals."""
    sample = (tl.program_id(0) // tiles).to(tl.int64)
    block, channel, position, exists = tile_elements(
        tl.program_id(0) % tiles, channels, positions, ORDER, QUADS, WIDE
    )
    sample_row = tl.load(row + sample * row_stride) if row.dtype.is_ptr() else row.to(tl.int64)
    seed = tl.load(seeds + sample * seeds_stride)
    normals = normal_quads(seed, sample_row, stream, block, COMPUTE)
    address = pointers(out, sample, channel, position, ORDER)
    tl.store(address, normals.to(out.pointer.dtype.element_ty), mask=exists)


def philox_normal(out: Tensor, seeds: Tensor, row: int | Tensor, stream: int) -> None:
    """Fill `out` (N, *S) with the normals of `spec`; seeds (N,) int64, row int or int64 (N,) on the device.

    No host synchronisation. An `out` whose positions don't collapse to one stride is filled through a
    contiguous buffer.
    """
    if out.numel() == 0:
        return
    written = fit(out)
    plan = walk([written], draws=True)
    row_stride = row.stride(0) if isinstance(row, Tensor) and row.numel() > 1 else 0
    philox_normal_kernel[plan.grid](
        operand(written), seeds, seeds.stride(0), row, row_stride, stream, **plan.arguments
    )
    if written is not None and written is not out:
        out.copy_(written)
