"""`linear` against the float64 reference, on every instruction set, and as its users call it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import genfuse
from genfuse.ops import linear
from genfuse_kernels.linear import cpu_impl, spec
from ops.cpu_cases import ISAS, instruction_set, threads
from ops.linear_cases import check


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("seed", range(24))
def test_random_cases(isa: str, seed: int) -> None:
    dtype = spec.DTYPES[seed % 3]
    pairs = dtype == torch.bfloat16 and isa in ("avx512_bf16", "amx_bf16")
    with instruction_set(isa):
        check(
            cpu_impl.linear,
            np.random.default_rng([9, seed]),
            dtype,
            product=torch.bfloat16 if pairs else torch.float32,
        )


@pytest.mark.parametrize("rows", [1, 2, 47, 71, 72, 73, 96, 97, 145, 192, 1009])
def test_every_way_to_cut_the_rows(rows: int) -> None:
    x, weight = torch.randn(rows, 40), torch.randn(9, 40)
    assert torch.allclose(linear(x, weight), F.linear(x, weight), atol=1e-4)


def test_bits_depend_on_the_row_alone() -> None:
    x, weight, bias = torch.randn(256, 300), torch.randn(64, 300), torch.randn(64)
    with threads(1):
        one = linear(x, weight, bias, out_activation="silu")
    with threads(2):
        assert torch.equal(linear(x, weight, bias, out_activation="silu"), one)
        for first, stop in ((0, 1), (7, 80), (255, 256)):
            assert torch.equal(linear(x[first:stop], weight, bias, out_activation="silu"), one[first:stop])


def test_long_sums_keep_their_accuracy() -> None:
    """A sum of short chains: at most twice the error of PyTorch's own."""
    x, weight = torch.randn(32, 4096), torch.randn(48, 4096)
    want = F.linear(x.double(), weight.double())
    theirs = (F.linear(x, weight) - want).square().mean().sqrt()
    assert (linear(x, weight) - want).square().mean().sqrt() <= 2 * theirs


def test_any_rows_and_an_edited_weight() -> None:
    x, weight = torch.randn(2, 3, 5, 8), torch.randn(6, 8)
    assert torch.allclose(linear(x, weight), F.linear(x, weight), atol=1e-5)
    assert torch.allclose(linear(x[0, 0, 0], weight), F.linear(x[0, 0, 0], weight), atol=1e-5)
    strided = torch.randn(8, 7).t()
    assert torch.allclose(linear(strided, weight), F.linear(strided, weight), atol=1e-5)
    assert linear(x[:0], weight).shape == (0, 3, 5, 6)
    weight.data.mul_(2)
    assert torch.allclose(linear(x, weight), F.linear(x, weight), atol=1e-5)


def test_gradients_compile_and_backends() -> None:
    x, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((5, 4), (3, 4), (3,)))
    ours = torch.autograd.grad(linear(x, weight, bias, activation="silu").square().sum(), (x, weight, bias))
    theirs = torch.autograd.grad(F.linear(F.silu(x), weight, bias).square().sum(), (x, weight, bias))
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, atol=1e-5)
    assert genfuse.explain("linear", x, weight).backend == "aten"
    plain = [t.detach() for t in (x, weight, bias)]
    assert genfuse.explain("linear", *plain).backend == "cpu"
    compiled = torch.compile(lambda *t: linear(*t, out_activation="relu"), fullgraph=True)
    assert torch.equal(compiled(*plain), linear(*plain, out_activation="relu"))
    arguments = (*plain, None, "silu", 0.01, 0.5, "none")
    torch.library.opcheck(torch.ops.genfuse.linear.default, arguments)
    for name in ("aten", "reference"):
        with genfuse.backend(name):  # type: ignore[arg-type]
            assert torch.allclose(linear(*plain), F.linear(*plain), atol=1e-5)


def test_bad_arguments() -> None:
    x, weight = torch.randn(5, 4), torch.randn(3, 4)
    for arguments, words in (
        ((x, weight.t()), "weight has shape"),
        ((x, weight, torch.ones(4)), "bias has shape"),
    ):
        with pytest.raises(ValueError, match=words):
            linear(*arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="residual has shape"):
        linear(x, weight, residual=torch.ones(5, 4))
    with pytest.raises(TypeError, match="weight has dtype"):
        linear(x, weight.double())
    with pytest.raises(ValueError, match="did you mean 'relu'"):
        linear(x, weight, activation="rleu")  # type: ignore[arg-type]
