"""Random calls of `attention`, and what its launchers are held against."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import genfuse
from genfuse.ops import attention
from genfuse_kernels.attention import reference, spec
from ops.cpu_cases import laid_out, untouched_elsewhere

_LAYOUTS = ("tokens first", "heads first", "channels outside", "sliced")


class Case(NamedTuple):
    """What the op is called with."""

    q: Tensor
    k: Tensor
    v: Tensor
    scale: float


def _heads(rng: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> Tensor:
    values = torch.from_numpy(rng.standard_normal(shape) * 1.5).to(dtype)
    if layout == "tokens first":
        return values.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "channels outside":
        return values.transpose(2, 3).contiguous().transpose(2, 3)
    if layout == "sliced":
        return laid_out(values, "sliced")
    return values


def random_case(rng: np.random.Generator, dtype: torch.dtype, tokens: int = 300, channels: int = 70) -> Case:
    """Every layout and size; every second time few tokens."""
    n, heads = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    queries, keys = (int(rng.integers(1, (20, tokens)[rng.integers(2)])) for _ in range(2))
    d, e = int(rng.integers(1, channels)), int(rng.integers(1, channels))
    q, k, v = (
        _heads(rng, (n, heads, *sizes), dtype, _LAYOUTS[rng.integers(4)])
        for sizes in ((queries, d), (keys, d), (keys, e))
    )
    return Case(q, k, v, float(rng.choice([1 / math.sqrt(d), 1.0])))


def allowed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    dtype: torch.dtype,
    product: torch.dtype | str = torch.float32,
) -> Tensor:
    """The error of each element, of inputs in float64."""
    magnitude = float((q.abs() @ k.abs().transpose(-1, -2)).max()) * abs(scale)
    weights = ((q * scale) @ k.transpose(-1, -2)).softmax(-1)
    return spec.tolerance(dtype, q.shape[3], k.shape[2], magnitude, product) * (weights @ v.abs())


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
