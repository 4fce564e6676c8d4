"""`norm_direction` in Triton: a program a sample."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit
def norm_direction_kernel(norms, direction, x, values, BLOCK: tl.constexpr):
    """One sample, read for its largest element, its squares and its direction."""
    first = tl.program_id(0).to(tl.int64) * values
    largest = tl.zeros((BLOCK,), tl.float32)
    for begin in range(0, values, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        value = tl.load(x + first + place, mask=place < values, other=0.0).to(tl.float32)
        largest = tl.maximum(largest, tl.abs(value))
    # A power of two that brings it to 1 to 2, as far as powers go that are no subnormal numbers.
    exponent = tl.max(largest, 0).to(tl.int32, bitcast=True) >> 23
    power = tl.minimum(tl.maximum(127 - exponent, -126), 126)
    scale = ((power + 127) << 23).to(tl.float32, bitcast=True)
    squares = tl.zeros((), tl.float64)
    for begin in range(0, values, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        value = tl.load(x + first + place, mask=place < values, other=0.0).to(tl.float32) * scale
        squares += tl.sum(value * value, 0).to(tl.float64)
    length = tl.sqrt(squares)
    tl.store(norms + tl.program_id(0), (length / scale.to(tl.float64)).to(tl.float32))
    factor = tl.where(length == 0, 0.0, 1 / tl.where(length == 0, 1.0, length)).to(tl.float32)
    for begin in range(0, values, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        value = tl.load(x + first + place, mask=place < values, other=0.0).to(tl.float32)
        tl.store(direction + first + place, value * scale * factor, mask=place < values)


def norm_direction(norms: Tensor, direction: Tensor, x: Tensor) -> None:
    """Fill `norms` and `direction`; see `spec`. Samples with gaps, or in another order than direction, are copied."""
    if x.shape[0] == 0:
        return
    values = math.prod(x.shape[1:])
    one_by_one = x.shape[0] < 2 or x.stride(0) == values
    if x.stride() == direction.stride() and one_by_one:
        norm_direction_kernel[(x.shape[0],)](norms, direction, x, values, BLOCK=_BLOCK, enable_fp_fusion=True)
        return
    made = torch.empty(x.shape, dtype=direction.dtype, device=x.device)
    norm_direction_kernel[(x.shape[0],)](
        norms, made, x.contiguous(), values, BLOCK=_BLOCK, enable_fp_fusion=True
    )
    direction.copy_(made)
