"""Random calls of `attention`, and what its launchers are held against."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

import genfuse
from genfuse.ops import attention
from genfuse_kernels.attention import reference, spec
from genfuse_kernels.attention.cases import Call as Case
from genfuse_kernels.attention.cases import allowed, random_case
from genfuse_kernels.common.case import smallest
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
    """Triton's from float64, each element by the magnitudes of what is summed up for it.

    A gradient is two of the op's products, one behind the other: an error of `spec.tolerance` each.
    """
    dtype = case.q.dtype
    gradient = torch.randn(*case.q.shape[:3], case.v.shape[3]).to(dtype)

    def gradients(dtype: torch.dtype, ours: bool) -> list[Tensor]:
        inputs = [tensor.detach().to(device, dtype).requires_grad_() for tensor in case[:3]]
        with genfuse.backend("triton") if ours else nullcontext():
            out = (attention if ours else reference.attention)(*inputs, scale=case.scale)
        made = torch.autograd.grad(out, inputs, gradient.to(device, dtype))
        return [each.cpu().double() for each in made]

    q, k, v, of = (tensor.double().abs() for tensor in (*case[:3], gradient))
    scale = abs(case.scale)
    weights = (case.q.double() @ case.k.double().mT * case.scale).softmax(-1)
    by_weight = of @ v.mT
    by_score = weights * (by_weight + (weights * by_weight).sum(-1, keepdim=True)) * scale
    sizes = by_score @ k, by_score.mT @ q, weights.mT @ of
    magnitude = scale * float((q @ k.mT).max())
    longest = max(case.q.shape[2], case.k.shape[2])
    channels = max(case.q.shape[3], case.v.shape[3])
    relative = 2 * spec.tolerance(dtype, channels, longest, magnitude, product_of(dtype))
    for made, exact, size in zip(gradients(dtype, True), gradients(torch.float64, False), sizes, strict=True):
        assert ((made - exact).abs() <= relative * size + smallest(dtype)).all()
