"""`spectral_norm` and its gradient in Triton, by the cases that the C++ kernels pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.lab import interpreter
from genfuse.ops import spectral_norm
from genfuse_kernels.spectral_norm import reference, triton_impl
from ops.spectral_norm_cases import Layers, hold, hold_gradient
from triton_proof.seeds import rotating

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def in_the_table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels may touch what is put into a table, and nothing else; tiles of more than one program a layer."""
    original = triton_impl.tables

    def tables(lists: Sequence[Sequence[Tensor]], *rest: object) -> Iterator[triton_impl.Table]:
        interpreter.within_reach.extend(chain(*lists))
        return original(lists, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(triton_impl, "tables", tables)
    monkeypatch.setattr(triton_impl, "SHARE", 2)
    yield
    interpreter.within_reach.clear()


@pytest.mark.parametrize("seed", rotating(2, 36))
def test_equals_the_reference(seed: int) -> None:
    hold(triton_impl.spectral_norm, Layers(seed, DTYPES[seed % 3]), (0, 1, 3)[seed // 3 % 3])


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_small_and_large_weights(scale: float) -> None:
    hold(triton_impl.spectral_norm, Layers(3, torch.float32, scale), 2, 1e-12 * scale)


@pytest.mark.parametrize("seed", rotating(1, 12))
def test_gradient_equals_the_reference(seed: int) -> None:
    hold_gradient(triton_impl, Layers(seed, DTYPES[seed % 3]))


def test_through_the_op() -> None:
    """Zeros and what is not finite as by the definition, and gradients by the vectors of their own call."""
    with genfuse.backend("triton"):
        for value in (0.0, torch.nan, torch.inf):
            ((made,), sigma) = spectral_norm([torch.full((3, 4), value)], [torch.ones(3)], [torch.ones(4)])
            assert not made.isfinite().any()
            assert sigma[0] == 0 if value == 0 else not sigma.isfinite()
        weight, u, v = torch.randn(5, 8, requires_grad=True), torch.randn(5), torch.randn(8)
        ((made,), _) = spectral_norm([weight], [u], [v], steps=2)
        kept = u.double(), v.double()
        spectral_norm([weight], [u], [v])
        made.square().sum().backward()
    exact = weight.detach().double().requires_grad_()
    reference.normalised(exact, *kept, 0)[0].square().sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad.double(), exact.grad, rtol=1e-5, atol=1e-5)
