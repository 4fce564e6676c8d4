"""`norm_tangent` in Triton: sums of each set, then values block by block."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.norm_tangent.triton_sums import factor, off_mean, set_factors, weight_size, weighted

BLOCK = 1024


@triton.jit
def norm_tangent_kernel(
    out, x, tangent, weight, factors, sets, columns, weight_rows, weight_columns, run, blocks, BLOCK: tl.constexpr
):  # fmt: skip
    """weight·(r·tc − r³(xc·tc)·xc) of one block of one set."""
    number = tl.program_id(0) // blocks
    place = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    exists = place < columns
    first = number.to(tl.int64) * columns
    xc = off_mean(tl.load(x + first + place, mask=exists, other=0.0), factors, number)
    tc = off_mean(tl.load(tangent + first + place, mask=exists, other=0.0), factors + sets, number)
    made = factor(factors + 3 * sets, number) * tc - factor(factors + 4 * sets, number) * xc
    made = weighted(made, weight, number, place, exists, weight_rows, weight_columns, run)
    tl.store(out + first + place, made, mask=exists)


def norm_tangent(out: Tensor, x: Tensor, tangent: Tensor, weight: Tensor | None, eps: float) -> None:
    """Fill `out`; see `spec`."""
    if x.shape[0]:
        fill(out, x, tangent, weight, set_factors(x, tangent, eps))


def fill(out: Tensor, x: Tensor, tangent: Tensor, weight: Tensor | None, factors: Tensor) -> None:
    """`out` by the factors of each set, of which it has one or more."""
    sets, columns = x.shape
    blocks = triton.cdiv(columns, BLOCK)
    norm_tangent_kernel[(sets * blocks,)](
        out, x, tangent, weight, factors, sets, columns, *weight_size(weight, columns), blocks, BLOCK=BLOCK,
        enable_fp_fusion=True,
    )  # fmt: skip
