"""Random calls of `attention`, and what its launchers are held against."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import genfuse
from genfuse.ops import attention
from genfuse_kernels.attention import reference
from genfuse_kernels.attention.cases import Call as Case
from genfuse_kernels.attention.cases import allowed, random_case
from ops.cpu_cases import laid_out, untouched_elsewhere

__all__ = ["Case", "allowed", "check", "hold_gradients", "product_of", "random_case"]


def check(launch: Callable[..., None], case: Case, product: torch.dtype | str = torch.float32) -> None:
    """A launcher against float64, in memory that was NaN before."""
    q, k, v, scale = case
    wide = (q.double(), k.double(), v.double())
    want = reference.attention(*wide, scale)
    out = laid_out(torch.full(want.shape, math.nan, dtype=q.dtype), "contiguous")
    launch(out, q, k, v, scale)
    assert untouched_elsewhere(out)
    assert ((out.double() - want).abs() <= allowed(*wide, scale, q.dtype, product)).all()


def product_of(dtype: torch.dtype) -> torch.dtype | str:
    """What a GPU's factors are rounded to."""
    return "tf32x3" if dtype == torch.float32 else dtype


def hold_gradients(case: Case, device: str = "cpu") -> None:
    """Triton's from float64: at most twice as far as PyTorch's own in this dtype, and four roundings of the largest."""
    dtype = case.q.dtype
    gradient = torch.randn(*case.q.shape[:3], case.v.shape[3])

    def gradients(dtype: torch.dtype, ours: bool) -> list[Tensor]:
        inputs = [tensor.detach().to(device, dtype).requires_grad_() for tensor in case[:3]]
        if ours:
            with genfuse.backend("triton"):
                out = attention(*inputs, scale=case.scale)
        else:
            out = F.scaled_dot_product_attention(*inputs, scale=case.scale)
        made = torch.autograd.grad(out, inputs, gradient.to(device, dtype))
        return [each.cpu().double() for each in made]

    want, theirs = gradients(torch.float64, False), gradients(dtype, False)
    for made, other, exact in zip(gradients(dtype, True), theirs, want, strict=True):
        largest = 4 * torch.finfo(dtype).eps * exact.abs().max()
        assert (made - exact).abs().max() <= 2 * (other - exact).abs().max() + largest
