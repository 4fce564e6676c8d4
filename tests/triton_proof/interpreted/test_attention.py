"""`attention` and its gradients in Triton against float64, with every access checked."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.ops import attention
from genfuse_kernels.attention import reference, spec, triton_impl
from ops.attention_cases import Case, check, hold_gradients, product_of, random_case
from triton_proof.seeds import rotating

PLANS = (
    (torch.float32, 100, 128),
    (torch.float32, 60, 33),
    (torch.bfloat16, 256, 128),
    (torch.float16, 100, 300),
    (torch.bfloat16, 512, 16),
)
"""Heads that take the plans of each size, by the channels of keys and values."""


@pytest.mark.parametrize("seed", rotating(3, 60))
def test_random_cases(seed: int) -> None:
    dtype = spec.DTYPES[seed % 3]
    case = random_case(np.random.default_rng([81, seed]), dtype, tokens=150)
    check(triton_impl.attention, case, product_of(dtype))


@pytest.mark.parametrize("plan", rotating(1, len(PLANS)))
def test_heads_of_every_plan(plan: int) -> None:
    dtype, d, e = PLANS[plan]
    q, k, v = (torch.randn(1, 1, 40, size).to(dtype) for size in (d, d, e))
    check(triton_impl.attention, Case(q, k, v, 1 / math.sqrt(d)), product_of(dtype))
    hold_gradients(Case(q, k, v, 1 / math.sqrt(d)))


@pytest.mark.parametrize("seed", rotating(2, 30))
def test_gradients(seed: int) -> None:
    hold_gradients(random_case(np.random.default_rng([83, seed]), spec.DTYPES[seed % 3], 100, 40))


def test_bits_depend_on_the_sample_alone() -> None:
    q, k, v = torch.randn(2, 2, 70, 20), torch.randn(2, 2, 40, 20), torch.randn(2, 2, 40, 5)
    with genfuse.backend("triton"):
        assert torch.equal(attention(q[1:], k[1:], v[1:]), attention(q, k, v)[1:])


def test_scores_that_are_not_finite() -> None:
    """Of −∞ alone, +∞ or NaN: NaN, as in the definition; −∞ beside others weighs nothing."""
    q, v = torch.ones(1, 1, 2, 1), torch.arange(80.0).reshape(1, 1, 80, 1)
    for value, finite in ((-torch.inf, False), (torch.inf, False), (torch.nan, False), (-torch.inf, True)):
        k = torch.full((1, 1, 80, 1), value)
        if finite:
            k[:, :, 75:] = 0
        with genfuse.backend("triton"):
            out = attention(q, k, v)
        assert (out == 77.0).all() if finite else out.isnan().all()


def test_second_order_and_what_is_too_wide() -> None:
    q, k, v = (torch.randn(1, 1, 3, 2, requires_grad=True) for _ in range(3))

    def twice(made: Tensor) -> Tensor:
        (first,) = torch.autograd.grad(made.square().sum(), q, create_graph=True)
        return torch.autograd.grad(first.square().sum(), k)[0]

    with genfuse.backend("triton"):
        mine = twice(attention(q, k, v))
    torch.testing.assert_close(mine, twice(reference.attention(q, k, v, 2**-0.5)), rtol=1e-4, atol=1e-5)
    wide = torch.randn(1, 1, 2, 600)
    with (
        genfuse.backend("triton"),
        pytest.raises(genfuse.UnsupportedError, match="have 600 channels, expected at most 256"),
    ):
        attention(wide, wide, wide)
    assert attention(q[:0], k[:0], v[:0]).shape == (0, 1, 3, 2)
