"""What `norm_tangent` and its gradients need of each set, in Triton: means and means of products, of one reading.

Tiles are summed about their own float32 means and merged in float64 in a fixed order (Chan, Golub & LeVeque 1979, of
pairs of variables too), so that a mean that is large beside the deviation cancels nothing. How sets are split among
programs is decided by their length alone.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor, float64

from genfuse_kernels.common.moments import LAUNCH, SPAN, TILE

_SETS = 64
"""That a program merges."""

_SUMS = 7
"""Means of x, tangent and weighted gradient, and products x·x, x·tangent, gradient·x, gradient·tangent."""


@triton.jit
def centred(value, exists, inverse):
    """A tile's mean, float64, and what is off its float32 rounding: values, and their sum."""
    mean = tl.sum(tl.where(exists, value, 0.0), 0) * inverse
    off = tl.where(exists, value - mean, 0.0)
    rest = tl.sum(off, 0)
    return mean.to(tl.float64) + (rest * inverse).to(tl.float64), off, rest


@triton.jit
def product(a, b, rest_a, rest_b, inverse):
    """Of a tile's deviations about their means, float64."""
    return (tl.sum(a * b, 0) - rest_a * rest_b * inverse).to(tl.float64)


@triton.jit
def weighted(gradient, weight, set_number, place, exists, weight_rows, weight_columns, run):
    """The gradient times the weight of each value."""
    if weight is None:
        return gradient
    row = weight + set_number % weight_rows * weight_columns
    return gradient * tl.load(row + place // run, mask=exists, other=0.0)


@triton.jit
def norm_tangent_sums_kernel(
    partial, x, tangent, gradient, weight, sets, columns, weight_rows, weight_columns, run, splits, span,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One span of one set."""
    number = tl.program_id(0) // splits
    split = tl.program_id(0) % splits
    first = number.to(tl.int64) * columns
    end = tl.minimum((split + 1) * span, columns)
    count = tl.zeros((), tl.float64)
    mean_x, mean_t, mean_w, xx, xt, wx, wt = count, count, count, count, count, count, count
    for start in range(split * span, end, BLOCK):
        place = start + tl.arange(0, BLOCK)
        exists = place < end
        here = tl.minimum(BLOCK, end - start).to(tl.float32)
        inverse = 1.0 / here
        share = here.to(tl.float64) / (count + here.to(tl.float64))
        both = count * share
        x_here, off_x, rest_x = centred(tl.load(x + first + place, mask=exists, other=0.0), exists, inverse)
        t_here, off_t, rest_t = centred(
            tl.load(tangent + first + place, mask=exists, other=0.0), exists, inverse
        )
        apart_x, apart_t = x_here - mean_x, t_here - mean_t
        xx += product(off_x, off_x, rest_x, rest_x, inverse) + apart_x * apart_x * both
        xt += product(off_x, off_t, rest_x, rest_t, inverse) + apart_x * apart_t * both
        mean_x += apart_x * share
        mean_t += apart_t * share
        if gradient is not None:
            given = tl.load(gradient + first + place, mask=exists, other=0.0)
            w = weighted(given, weight, number, place, exists, weight_rows, weight_columns, run)
            w_here, off_w, rest_w = centred(w, exists, inverse)
            apart_w = w_here - mean_w
            wx += product(off_w, off_x, rest_w, rest_x, inverse) + apart_w * apart_x * both
            wt += product(off_w, off_t, rest_w, rest_t, inverse) + apart_w * apart_t * both
            mean_w += apart_w * share
        count += here.to(tl.float64)
    address = partial + split * sets + number
    step = splits * sets
    tl.store(address, mean_x)
    tl.store(address + step, mean_t)
    tl.store(address + 2 * step, mean_w)
    tl.store(address + 3 * step, xx)
    tl.store(address + 4 * step, xt)
    tl.store(address + 5 * step, wx)
    tl.store(address + 6 * step, wt)


@triton.jit(do_not_specialize=["splits", "eps"])
def norm_tangent_factors_kernel(factors, partial, sets, columns, splits, span, eps, BLOCK: tl.constexpr):
    """Merge the spans of a block of sets, one after the other, and make of their sums what each value is scaled by."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = number < sets
    step = splits.to(tl.int64) * sets
    count = tl.zeros((BLOCK,), tl.float64)
    mean_x, mean_t, mean_w, xx, xt, wx, wt = count, count, count, count, count, count, count
    for split in range(splits):
        address = partial + split * sets + number
        here = tl.minimum(span, columns - split * span).to(tl.float64)
        share = here / (count + here)
        both = count * share
        apart_x = tl.load(address, mask=exists, other=0.0) - mean_x
        apart_t = tl.load(address + step, mask=exists, other=0.0) - mean_t
        apart_w = tl.load(address + 2 * step, mask=exists, other=0.0) - mean_w
        xx += tl.load(address + 3 * step, mask=exists, other=0.0) + apart_x * apart_x * both
        xt += tl.load(address + 4 * step, mask=exists, other=0.0) + apart_x * apart_t * both
        wx += tl.load(address + 5 * step, mask=exists, other=0.0) + apart_w * apart_x * both
        wt += tl.load(address + 6 * step, mask=exists, other=0.0) + apart_w * apart_t * both
        mean_x += apart_x * share
        mean_t += apart_t * share
        mean_w += apart_w * share
        count += here
    inverse = 1.0 / columns.to(tl.float64)
    variance = tl.where(exists, tl.where(xx < 0, 0.0, xx) * inverse + eps, 1.0)
    r = 1.0 / tl.sqrt(variance)
    cubed = r * r * r * inverse
    tl.store(factors + number, mean_x, mask=exists)
    tl.store(factors + sets + number, mean_t, mask=exists)
    tl.store(factors + 2 * sets + number, mean_w, mask=exists)
    tl.store(factors + 3 * sets + number, r, mask=exists)
    tl.store(factors + 4 * sets + number, cubed * xt, mask=exists)
    tl.store(factors + 5 * sets + number, cubed * wx, mask=exists)
    tl.store(factors + 6 * sets + number, cubed * (wt - 3.0 * r * r * inverse * xt * wx), mask=exists)


@triton.jit
def off_mean(value, factors, number):
    """What a value lies off a mean, which is read as two float32 parts: the first difference is exact."""
    mean = tl.load(factors + number)
    large = mean.to(tl.float32)
    return (value - large) - (mean - large.to(tl.float64)).to(tl.float32)


@triton.jit
def factor(factors, number):
    """One that values are scaled by."""
    return tl.load(factors + number).to(tl.float32)


def set_factors(
    x: Tensor, tangent: Tensor, eps: float, gradient: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """(7, B) float64 of x, tangent and gradient (B, S), contiguous, B and S not 0; with r as in the README:

    0 to 2  means of x, tangent and gradient·weight
    3       r
    4 to 6  r³(xc·tc), r³(w·xc) and r³((w·tc) − 3r²(xc·tc)(w·xc))
    """
    sets, columns = x.shape
    splits = triton.cdiv(columns, SPAN)
    partial, factors = (x.new_empty(size, dtype=float64) for size in ((_SUMS, splits, sets), (_SUMS, sets)))
    norm_tangent_sums_kernel[(sets * splits,)](
        partial, x, tangent, gradient, weight, sets, columns, *weight_size(weight, columns), splits, SPAN,
        BLOCK=min(TILE, triton.next_power_of_2(columns)), **LAUNCH,
    )  # fmt: skip
    norm_tangent_factors_kernel[(triton.cdiv(sets, _SETS),)](
        factors, partial, sets, columns, splits, SPAN, float(eps), BLOCK=_SETS, enable_fp_fusion=True
    )
    return factors


def weight_size(weight: Tensor | None, columns: int) -> tuple[int, int, int]:
    """Rows and columns of the weight, and how many values one after the other each is a factor of."""
    rows, by = (1, 1) if weight is None else weight.shape
    return rows, by, columns // by
