"""`philox_lerp` in Triton: a program a tile of a sample, which draws the sample's weight itself."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.layout import pointers, tile_elements, walk
from genfuse_kernels.common.philox import philox_words
from genfuse_kernels.common.planes import fit, operand
from genfuse_kernels.philox_normal import spec

_STREAM = tl.constexpr(spec.STREAM_INTERPOLATION)


@triton.jit
def _weight(seed, row, COMPUTE: tl.constexpr):
    """A sample's u, a scalar; exact in float32."""
    zero = tl.full((), 0, tl.int64)
    word, _, _, _ = philox_words(seed.to(tl.int64), row, zero + _STREAM, zero)
    return ((word >> 9).to(tl.int32).to(COMPUTE) + 0.5) * 1.1920928955078125e-07


@triton.jit(do_not_specialize=["seed", "first"])
def philox_lerp_kernel(
    out, start, end, seed, first, tiles, channels, positions,
    ORDER: tl.constexpr, QUADS: tl.constexpr, WIDE: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """A tile of one sample, in memory's order where all tensors share one."""
    sample = (tl.program_id(0) // tiles).to(tl.int64)
    _, channel, position, exists = tile_elements(
        tl.program_id(0) % tiles, channels, positions, ORDER, QUADS, WIDE
    )
    u = _weight(seed, first.to(tl.int64) + sample, COMPUTE)
    made = tl.zeros(exists.shape, COMPUTE)
    if start.pointer is not None:
        address = pointers(start, sample, channel, position, ORDER)
        made = tl.load(address, mask=exists, other=0.0).to(COMPUTE) * (1 - u)
    if end.pointer is not None:
        address = pointers(end, sample, channel, position, ORDER)
        value = tl.load(address, mask=exists, other=0.0).to(COMPUTE)
        made = value * u if start.pointer is None else tl.fma(value, tl.zeros_like(value) + u, made)
    address = pointers(out, sample, channel, position, ORDER)
    tl.store(address, made.to(out.pointer.dtype.element_ty), mask=exists)


def philox_lerp(out: Tensor, start: Tensor | None, end: Tensor | None, seed: int, first: int) -> None:
    """Fill `out`; see `spec`. Tensors whose positions don't collapse to one stride go through contiguous copies."""
    if out.numel() == 0:
        return
    written, from_start, from_end = fit(out), fit(start), fit(end)
    plan = walk([written, from_start, from_end], draws=False)
    philox_lerp_kernel[plan.grid](
        operand(written), operand(from_start), operand(from_end), seed, first, **plan.arguments
    )
    if written is not None and written is not out:
        out.copy_(written)
