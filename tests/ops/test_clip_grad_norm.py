"""`clip_grad_norm` against float64 on every backend and instruction set, and beside `torch.nn.utils`."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse.ops import clip_grad_norm
from genfuse_kernels.clip_grad_norm import aten_impl, cpu_impl, reference, reference_impl, spec
from ops import list_cases
from ops.cpu_cases import DTYPES, threads, untouched_elsewhere

LAUNCHERS = (aten_impl.clip_grad_norm, reference_impl.clip_grad_norm)
NORMS = (0.0, 0.5, 100.0, 1e6, torch.inf)


def hold(launch, gradients: list[Tensor], max_norm: float) -> None:
    before = [gradient.clone() for gradient in gradients]
    norm = torch.full((), torch.nan, dtype=spec.norm_dtype(gradients))
    launch(norm, gradients, max_norm, False)
    want, scaled = reference.clip_grad_norm([old.double() for old in before], max_norm)
    elements = sum(gradient.numel() for gradient in gradients)
    assert abs(norm.double() - want) <= spec.norm_tolerance(norm, elements)
    for gradient, old, value in zip(gradients, before, scaled, strict=True):
        error = (gradient.double() - value).abs()
        assert (error <= spec.tolerance(gradient, norm.dtype, elements)).all(), gradient.dtype
        assert untouched_elsewhere(gradient)
        if max_norm == torch.inf:
            assert torch.equal(gradient, old)


@pytest.mark.parametrize("max_norm", NORMS)
def test_cpu_kernel_equals_the_reference(isa: str, max_norm: float) -> None:
    rng = np.random.default_rng(int(min(max_norm, 10) * 2))
    hold(cpu_impl.clip_grad_norm, list_cases.tensors(rng, DTYPES), max_norm)
    hold(cpu_impl.clip_grad_norm, list_cases.tensors(rng, list_cases.SINGLE), max_norm)
    hold(cpu_impl.clip_grad_norm, list_cases.tensors(rng, (torch.bfloat16, torch.float16)), max_norm)


@pytest.mark.parametrize("launch", LAUNCHERS)
def test_other_backends_equal_the_reference(launch) -> None:
    for seed, max_norm in enumerate(NORMS):
        hold(launch, list_cases.tensors(np.random.default_rng(seed), DTYPES), max_norm)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-20, 1e20, 1e30])
def test_the_norm_neither_overflows_nor_vanishes(isa: str, scale: float) -> None:
    hold(cpu_impl.clip_grad_norm, [torch.randn(1000) * scale, torch.randn(33) * scale], 1.0)
    exact = torch.full((10_000,), scale)
    assert clip_grad_norm([exact], torch.inf, are_gradients=True) == pytest.approx(
        float(exact[0]) * 100, rel=1e-6
    )


def test_bits_do_not_depend_on_threads(isa: str) -> None:
    given = [torch.randn(n) for n in (300_001, 5, 0, 40_000)]
    results = []
    for count in (1, 2, 3):
        copies = [tensor.clone() for tensor in given]
        with threads(count):
            results.append([clip_grad_norm(copies, 1.0, are_gradients=True), *copies])
    for one, two, three in zip(*results, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)


def networks() -> tuple[nn.Module, nn.Module]:
    ours = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Conv2d(4, 4, 1)
    )
    ours[4].requires_grad_(False)
    ours[0].to(memory_format=torch.channels_last)
    ours(torch.randn(2, 3, 9, 9)).square().sum().backward()
    theirs = copy.deepcopy(ours)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        other.grad = None if mine.grad is None else mine.grad.clone()
    return ours, theirs


@pytest.mark.parametrize("max_norm", [1e-3, 1, 1e9])
def test_it_does_what_pytorchs_does(max_norm: float) -> None:
    ours, theirs = networks()
    assert any(p.grad is None for p in ours.parameters())
    got = clip_grad_norm(ours.parameters(), max_norm)
    want = nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
    torch.testing.assert_close(got, want)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
@pytest.mark.parametrize("backend", ["cpu", "aten", "reference"])
def test_a_norm_that_is_not_finite(backend: str, value: float) -> None:
    with genfuse.backend(backend):  # type: ignore[arg-type]
        ours, theirs = networks()
        for network in (ours, theirs):
            network[0].bias.grad[2] = value
        before = [p.grad.clone() for p in ours.parameters() if p.grad is not None]
        with pytest.raises(RuntimeError, match=f"norm of gradients is {value}, expected a finite one"):
            clip_grad_norm(ours.parameters(), 1.0, error_if_nonfinite=True)
        after = [p.grad for p in ours.parameters() if p.grad is not None]
        assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(after, before, strict=True))
        got = clip_grad_norm(ours.parameters(), 1.0)
        want = nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        torch.testing.assert_close(got, want, equal_nan=True)
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, other.grad, equal_nan=True)


def test_the_norms_dtype() -> None:
    half = torch.full((4,), 3.0, dtype=torch.bfloat16)
    assert clip_grad_norm([half], 100.0, are_gradients=True).dtype == torch.float32
    assert clip_grad_norm([half, half.double()], 100.0, are_gradients=True).dtype == torch.float64
    nothing = clip_grad_norm([], 1.0)
    assert nothing.item() == 0 and nothing.dtype == torch.float32
    assert clip_grad_norm(nn.Parameter(torch.ones(2)), 1.0).item() == 0
    assert clip_grad_norm([torch.empty(0)], 1.0, are_gradients=True).item() == 0


def test_sparse_gradients_are_refused_by_name() -> None:
    embedding, linear = nn.Embedding(5, 3, sparse=True), nn.Linear(3, 2)
    linear(embedding(torch.tensor([1, 2]))).sum().backward()
    kept = linear.weight.grad.clone()
    with pytest.raises(
        TypeError, match=r"gradients\[2\] has layout torch.sparse_coo, expected a dense tensor"
    ):
        clip_grad_norm([*linear.parameters(), *embedding.parameters()], 0.1)
    assert torch.equal(linear.weight.grad, kept)


@pytest.mark.parametrize(
    ("parameters", "max_norm", "error", "message"),
    [
        ([torch.ones(2)], -1.0, ValueError, "max_norm is -1.0, expected 0 or more"),
        ([torch.ones(2)], torch.nan, ValueError, "max_norm is nan"),
        ([torch.ones(2)], "1", TypeError, "max_norm is '1', expected a number"),
        ([torch.ones(2) * 1j], 1.0, TypeError, r"parameters\[0\] has dtype torch.complex64"),
        ([torch.ones(1).expand(4)], 1.0, ValueError, r"gradients\[0\] overlaps itself"),
    ],
)
def test_what_is_refused(parameters, max_norm, error, message) -> None:
    with pytest.raises(error, match=message):
        clip_grad_norm(parameters, max_norm, are_gradients=True)
    with pytest.raises(TypeError, match=r"parameters\[1\] is str, expected a tensor"):
        clip_grad_norm([torch.ones(2), "w"], 1.0)
    with pytest.raises(TypeError, match="are_gradients is 1, expected True or False"):
        clip_grad_norm([torch.ones(2)], 1.0, are_gradients=1)  # type: ignore[arg-type]


def test_a_gradient_given_twice_is_named() -> None:
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.full((3,), 9.0)
    with pytest.raises(ValueError, match=r"gradients\[1\] overlaps gradients\[0\] in memory"):
        clip_grad_norm([p, p], 1.0)
    assert p.grad.tolist() == [9.0] * 3


def test_it_is_a_registered_op_and_compiles() -> None:
    gradients = [torch.randn(3), torch.randn(4, 2).t()]
    torch.library.opcheck(torch.ops.genfuse.clip_grad_norm.default, (gradients, 0.1, False))

    def step(g: Tensor) -> Tensor:
        return clip_grad_norm([g], 1.0, are_gradients=True) + g.sum()

    g = torch.tensor([3.0, 4.0])
    got = torch.compile(step, backend="aot_eager", fullgraph=True)(g)
    assert got.item() == pytest.approx(5 + 1.4, abs=1e-5) and g.tolist() == pytest.approx(
        [0.6, 0.8], abs=1e-5
    )
