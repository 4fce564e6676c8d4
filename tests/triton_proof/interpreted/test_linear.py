"""`linear` in Triton, and its gradients, which are a unit's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import genfuse
from genfuse.ops import linear
from genfuse_kernels.linear import spec, triton_impl
from ops.linear_cases import check, hold_gradients
from triton_proof.seeds import rotating


@pytest.mark.parametrize("seed", rotating(2, 48))
def test_random_cases(seed: int) -> None:
    dtype = spec.DTYPES[seed % 3]
    product = "tf32x3" if dtype == torch.float32 else dtype
    check(triton_impl.linear, np.random.default_rng([9, seed]), dtype, product)


def test_bits_depend_on_the_row_alone() -> None:
    x, weight, bias = torch.randn(130, 40), torch.randn(24, 40), torch.randn(24)
    with genfuse.backend("triton"):
        whole = linear(x, weight, bias, out_activation="silu")
        for first, stop in ((0, 1), (7, 80), (129, 130)):
            assert torch.equal(linear(x[first:stop], weight, bias, out_activation="silu"), whole[first:stop])


@pytest.mark.parametrize("seed", rotating(1, 3))
def test_gradients(seed: int) -> None:
    hold_gradients(spec.DTYPES[seed])


def test_no_rows_and_gradients_of_gradients() -> None:
    x, weight = torch.randn(2, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    with genfuse.backend("triton"):
        assert linear(x[:0], weight).sum() == 0
        (first,) = torch.autograd.grad(linear(x, weight).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), weight)
    (want,) = torch.autograd.grad((2 * (x @ weight.t()) @ weight).square().sum(), weight)
    torch.testing.assert_close(second, want, rtol=1e-4, atol=1e-4)
