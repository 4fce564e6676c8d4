"""`leaky_relu_tangent` in Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.target import warps_of
from genfuse_kernels.leaky_relu_tangent.memory import are_alike

_BLOCK = 1024


@triton.jit
def leaky_relu_tangent_kernel(out, tangent, mask, count, below, above, BLOCK: tl.constexpr):
    """One block of elements."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = place < count
    value = tl.load(tangent + place, mask=exists, other=0.0).to(tl.float32)
    is_positive = tl.load(mask + place, mask=exists, other=0) != 0
    made = value * tl.where(is_positive, above, below)
    tl.store(out + place, made.to(out.dtype.element_ty), mask=exists)


def leaky_relu_tangent(
    out: Tensor, tangent: Tensor, mask: Tensor, negative_slope: float, positive_slope: float = 1.0
) -> None:
    """Fill `out`; see `spec`. Tensors of different orders in memory, or with gaps, go through copies."""
    if not are_alike(out, tangent, mask):
        made = torch.empty(tangent.shape, dtype=tangent.dtype, device=tangent.device)
        leaky_relu_tangent(made, tangent.contiguous(), mask.contiguous(), negative_slope, positive_slope)
        out.copy_(made)
    elif tangent.numel():
        leaky_relu_tangent_kernel[(triton.cdiv(tangent.numel(), _BLOCK),)](
            out,
            tangent,
            mask.view(torch.uint8),
            tangent.numel(),
            float(negative_slope),
            float(positive_slope),
            BLOCK=_BLOCK,
            num_warps=warps_of(128),
            enable_fp_fusion=True,
        )
