"""Random calls of `linear`, and what its launchers are held against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import genfuse
from genfuse.ops import linear
from genfuse_kernels.linear import cases


def check(
    launch: Callable[..., None],
    rng: np.random.Generator,
    dtype: torch.dtype,
    product: torch.dtype | str = torch.float32,
) -> None:
    """One call against float64, in memory that was NaN before; product: what its factors are rounded to."""
    assert cases.random_case(rng, dtype, product).run(launch) <= 1


def hold_gradients(dtype: torch.dtype, device: str = "cpu") -> None:
    """Triton's from float64: at most twice as far as PyTorch's own in this dtype, and four roundings of the largest."""
    given = (torch.randn(3, 7, 40), torch.randn(24, 40) / 6, torch.randn(24), torch.randn(3, 7, 24))
    gradient = torch.randn(3, 7, 24)

    def gradients(dtype: torch.dtype, ours: bool) -> list[Tensor]:
        inputs = [tensor.detach().to(device, dtype).requires_grad_() for tensor in given]
        x, weight, bias, residual = inputs
        if ours:
            with genfuse.backend("triton"):
                assert genfuse.explain("linear", x, weight).backend == "triton"
                out = linear(
                    x, weight, bias, activation="silu", residual=residual, scale=0.5, out_activation="gelu"
                )
        else:
            out = F.gelu((F.linear(F.silu(x), weight, bias) + residual) * 0.5)
        made = torch.autograd.grad(out, inputs, gradient.to(device, dtype))
        return [each.cpu().double() for each in made]

    want, theirs = gradients(torch.float64, False), gradients(dtype, False)
    for made, other, exact in zip(gradients(dtype, True), theirs, want, strict=True):
        largest = 4 * torch.finfo(dtype).eps * exact.abs().max()
        assert (made - exact).abs().max() <= 2 * (other - exact).abs().max() + largest
