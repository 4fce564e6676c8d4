"""The gradients of `norm_tangent` in Triton: of x and tangent block by block, of a weight by all that it scales."""

from __future__ import annotations

from collections.abc import Collection

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.norm_tangent.triton_impl import BLOCK, fill
from genfuse_kernels.norm_tangent.triton_sums import factor, off_mean, set_factors, weight_size, weighted

_COLUMNS, _RUN = 512, 1024
"""Of weights, and of values of one weight, that a program takes at a time; where it takes runs, of fewer weights."""


@triton.jit
def norm_tangent_gradient_kernel(
    x_gradient, tangent_gradient, gradient, x, tangent, weight, factors, sets, columns, weight_rows,
    weight_columns, run, blocks, BLOCK: tl.constexpr,
):  # fmt: skip
    """−r³(xc·tc)·wc − r³((w·tc) − 3r²(xc·tc)(w·xc))·xc − r³(w·xc)·tc, and r·wc − r³(w·xc)·xc, of one block of a set."""
    number = tl.program_id(0) // blocks
    place = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    exists = place < columns
    first = number.to(tl.int64) * columns
    given = tl.load(gradient + first + place, mask=exists, other=0.0)
    w = weighted(given, weight, number, place, exists, weight_rows, weight_columns, run)
    wc = off_mean(w, factors + 2 * sets, number)
    xc = off_mean(tl.load(x + first + place, mask=exists, other=0.0), factors, number)
    by_w = factor(factors + 5 * sets, number)
    if tangent_gradient is not None:
        made = factor(factors + 3 * sets, number) * wc - by_w * xc
        tl.store(tangent_gradient + first + place, made, mask=exists)
    if x_gradient is not None:
        tc = off_mean(tl.load(tangent + first + place, mask=exists, other=0.0), factors + sets, number)
        made = -factor(factors + 4 * sets, number) * wc - factor(factors + 6 * sets, number) * xc - by_w * tc
        tl.store(x_gradient + first + place, made, mask=exists)


@triton.jit
def norm_tangent_weight_gradient_kernel(
    weight_gradient, gradient, x, tangent, factors, sets, columns, weight_rows, weight_columns, run, blocks,
    BLOCK: tl.constexpr, BLOCK_RUN: tl.constexpr,
):  # fmt: skip
    """Σ gradient·(r·tc − r³(xc·tc)·xc) over all sets and values of a block of one row's weights, in their order."""
    row = tl.program_id(0) // blocks
    column = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float64)
    for number in range(row, sets, weight_rows):
        first = tl.cast(number, tl.int64) * columns
        r, along = factor(factors + 3 * sets, number), factor(factors + 4 * sets, number)
        for start in range(0, run, BLOCK_RUN):
            within = start + tl.arange(0, BLOCK_RUN)
            exists = (column < weight_columns)[:, None] & (within < run)[None, :]
            place = first + column[:, None] * run + within[None, :]
            xc = off_mean(tl.load(x + place, mask=exists, other=0.0), factors, number)
            tc = off_mean(tl.load(tangent + place, mask=exists, other=0.0), factors + sets, number)
            value = tl.load(gradient + place, mask=exists, other=0.0) * (r * tc - along * xc)
            total += tl.sum(value, 1).to(tl.float64)
    address = weight_gradient + row * weight_columns + column
    tl.store(address, total.to(tl.float32), mask=column < weight_columns)


def norm_tangent_gradient(
    gradient: Tensor,
    x: Tensor,
    tangent: Tensor,
    weight: Tensor | None,
    eps: float,
    needs: Collection[str],
    out: Tensor | None = None,
) -> dict[str, Tensor]:
    """The gradients that `needs` names of "x", "tangent" and "weight", from that of the result (B, S); see `spec`.

    out   is filled with the result beside them, by the same sums
    """
    of = {"x": x, "tangent": tangent, "weight": weight}
    found = {name: torch.empty_like(tensor) for name in needs if (tensor := of[name]) is not None}
    sets, columns = x.shape
    if sets == 0 or not (found or out is not None):
        return {name: made.zero_() for name, made in found.items()}
    factors = set_factors(x, tangent, eps, gradient, weight)
    rows, by, run = weight_size(weight, columns)
    if out is not None:
        fill(out, x, tangent, weight, factors)
    if "x" in found or "tangent" in found:
        blocks = triton.cdiv(columns, BLOCK)
        norm_tangent_gradient_kernel[(sets * blocks,)](
            found.get("x"), found.get("tangent"), gradient, x, tangent, weight, factors, sets, columns,
            rows, by, run, blocks, BLOCK=BLOCK, enable_fp_fusion=True,
        )  # fmt: skip
    if "weight" in found:
        at_once = min(triton.next_power_of_2(run), _RUN)
        block = min(triton.next_power_of_2(by), max(_COLUMNS // at_once, 1))
        blocks = triton.cdiv(by, block)
        norm_tangent_weight_gradient_kernel[(rows * blocks,)](
            found["weight"], gradient, x, tangent, factors, sets, columns, rows, by, run, blocks,
            BLOCK=block, BLOCK_RUN=at_once, enable_fp_fusion=True,
        )  # fmt: skip
    return found
