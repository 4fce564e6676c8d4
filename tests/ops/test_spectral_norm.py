"""`spectral_norm` against float64 on every backend and instruction set, its gradient, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

import genfuse
from genfuse import dispatch, env
from genfuse.errors import UnsupportedError
from genfuse.ops import spectral_norm
from genfuse.ops.spectral_norm import limits
from genfuse_kernels.spectral_norm import aten_impl, cpu_impl, reference, reference_impl
from ops.cpu_cases import threads
from ops.spectral_norm_cases import Layers, hold, hold_gradient


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_cpu_kernel_equals_the_reference(isa: str, dtype: torch.dtype, steps: int) -> None:
    hold(cpu_impl.spectral_norm, Layers(steps, dtype), steps)


@pytest.mark.parametrize("launch", [aten_impl.spectral_norm, reference_impl.spectral_norm])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_backends_equal_the_reference(launch, dtype: torch.dtype) -> None:
    hold(launch, Layers(7, dtype), 2)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_small_and_large_weights(isa: str, scale: float) -> None:
    hold(cpu_impl.spectral_norm, Layers(3, torch.float32, scale), 2, 1e-12 * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradient_kernel_equals_the_reference(isa: str, dtype: torch.dtype) -> None:
    hold_gradient(cpu_impl, Layers(11, dtype))


def test_bits_do_not_depend_on_threads(isa: str) -> None:
    results = []
    for count in (1, 2, 3):
        layers = Layers(5, torch.float32)
        weights = [w.contiguous().requires_grad_() for w in layers.weights]
        with threads(count):
            made, sigmas = spectral_norm(weights, layers.us, layers.vs, dims=layers.dims)
            sum((w * w.detach().flip(0)).sum() for w in made).backward()
        results.append([sigmas, *made, *layers.us, *layers.vs, *(w.grad for w in weights)])
    for one, two, three in zip(*results, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)


def small(dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[int]]:
    torch.manual_seed(0)
    weights = [torch.randn(s, dtype=dtype).requires_grad_() for s in ((3, 4), (2, 3, 2, 2), (4, 1))]
    dims = [0, 1, 0]
    us = [
        nn.functional.normalize(torch.randn(w.shape[d], dtype=dtype), dim=0)
        for w, d in zip(weights, dims, strict=True)
    ]
    vs = [
        nn.functional.normalize(torch.randn(w.numel() // w.shape[d], dtype=dtype), dim=0)
        for w, d in zip(weights, dims, strict=True)
    ]
    return weights, us, vs, dims


def test_gradients_of_all_orders() -> None:
    weights, us, vs, dims = small()

    def made(*weights: Tensor) -> tuple[Tensor, ...]:
        return tuple(spectral_norm(weights, us, vs, dims=dims, steps=0)[0])

    assert torch.autograd.gradcheck(made, weights)
    assert torch.autograd.gradgradcheck(made, weights)


def test_gradients_of_some_weights_and_some_results() -> None:
    weights, us, vs, dims = small(torch.float32)
    weights[1].requires_grad_(False)
    made, sigmas = spectral_norm(weights, us, vs, dims=dims)
    assert not sigmas.requires_grad
    (made[0].square().sum() + made[1].sum()).backward()
    assert weights[1].grad is None and weights[2].grad is None
    exact = weights[0].detach().double().requires_grad_()
    reference.normalised(exact, us[0].double(), vs[0].double(), 0)[0].square().sum().backward()
    torch.testing.assert_close(weights[0].grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


def test_gradients_go_by_the_vectors_of_their_own_call() -> None:
    """As in a critic's loss: scores of real pictures, then of generated ones."""
    weights, us, vs, dims = small(torch.float32)
    first, _ = spectral_norm(weights, us, vs, dims=dims)
    then = [(u.clone(), v.clone()) for u, v in zip(us, vs, strict=True)]
    spectral_norm(weights, us, vs, dims=dims, steps=4)
    first[1].square().sum().backward()
    exact = weights[1].detach().double().requires_grad_()
    reference.normalised(exact, *(t.double() for t in then[1]), 1)[0].square().sum().backward()
    torch.testing.assert_close(weights[1].grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_op_is_registered_as_it_should_be(dtype: torch.dtype) -> None:
    weights, us, vs, dims = small(dtype)
    detached = [weight.detach() for weight in weights]
    torch.library.opcheck(torch.ops.genfuse.spectral_norm.default, (detached, us, vs, dims, 1, 1e-12))


def test_it_can_be_compiled() -> None:
    weights, us, vs, dims = small(torch.float32)
    other = [u.clone() for u in us], [v.clone() for v in vs]

    def loss(us: list[Tensor], vs: list[Tensor]) -> Tensor:
        made, _ = spectral_norm(weights, us, vs, dims=dims)
        return sum((m * m).sum() for m in made)

    gradients = torch.autograd.grad(loss(us, vs), weights)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for mine, theirs in zip(torch.autograd.grad(compiled(*other), weights), gradients, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert all(torch.equal(a, b) for a, b in zip((*us, *vs), (*other[0], *other[1]), strict=True))


def test_a_weight_of_zeros_and_one_that_is_not_finite() -> None:
    for value in (0.0, torch.nan, torch.inf):
        weight, u, v = torch.full((3, 4), value), torch.ones(3), torch.ones(4)
        ((made,), sigma) = spectral_norm([weight], [u], [v])
        assert made.isnan().all() or not made.isfinite().any()
        assert sigma[0] == 0 if value == 0 else not sigma.isfinite()


def test_negated_views_and_tensors_that_are_not_dense() -> None:
    weights, us, vs, dims = small(torch.float32)
    plain = [weight.detach() for weight in weights]
    want, _ = spectral_norm(plain, us, vs, dims=dims, steps=0)
    got, _ = spectral_norm([torch._neg_view(-weight) for weight in plain], us, vs, dims=dims, steps=0)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match=r"us\[0\] is a negated view"):
        spectral_norm(plain, [torch._neg_view(us[0]), *us[1:]], vs, dims=dims)
    with pytest.raises(TypeError, match=r"weights\[1\] has layout torch.sparse_coo, expected a dense tensor"):
        spectral_norm([plain[0], plain[1].to_sparse(), plain[2]], us, vs, dims=dims)


def test_nothing_at_all() -> None:
    made, sigmas = spectral_norm([], [], [])
    assert made == [] and sigmas.shape == (0,)


def test_what_does_not_fit_is_named_and_nothing_is_changed() -> None:
    weights, us, vs, dims = small(torch.float32)
    before = [vector.clone() for vector in (*us, *vs)]
    half = us[1].half()
    for error, match, change in (
        (ValueError, r"us has 2 entries, expected 3 as weights", {"us": us[:2]}),
        (ValueError, r"dims has 1 entries", {"dims": [0]}),
        (ValueError, r"vs\[0\] has shape \(3,\), expected \(4,\)", {"vs": [us[0], *vs[1:]]}),
        (TypeError, r"us\[1\] has dtype torch.float16, expected torch.float32", {"us": [us[0], half, us[2]]}),
        (ValueError, r"dims\[2\] is 2, expected an axis of weights\[2\]", {"dims": [0, 1, 2]}),
        (ValueError, r"weights\[0\] has shape \(4,\), expected two axes", {"weights": [vs[0], *weights[1:]]}),
        (TypeError, r"weights\[0\] has dtype torch.int64", {"weights": [torch.ones(3, 4).long(), *weights[1:]]}),
        (ValueError, r"steps is -1, expected 0 or more", {"steps": -1}),
        (ValueError, r"eps is -1.0, expected 0 or more", {"eps": -1.0}),
        (ValueError, r"us\[0\] has stride \(2,\), expected a dense vector", {"us": [torch.ones(6)[::2], *us[1:]]}),
        (ValueError, r"overlaps", {"us": [us[0], us[1], us[2]], "vs": [vs[0], vs[1], us[2][:1]]}),
        (UnsupportedError, r"us\[0\] requires one", {"us": [torch.ones(3).requires_grad_(), *us[1:]]}),
    ):  # fmt: skip
        given = {"weights": weights, "us": us, "vs": vs, "dims": dims, **change}
        with pytest.raises(error, match=match):
            spectral_norm(given.pop("weights"), given.pop("us"), given.pop("vs"), **given)
    assert all(torch.equal(a, b) for a, b in zip((*us, *vs), before, strict=True))


@pytest.mark.parametrize(
    "shape, found", [((16 * 65535 + 1, 3), "1048561 rows"), ((3, 256 * 65535 + 1), "16776961 columns")]
)
def test_more_blocks_than_a_grid_has_are_not_tritons(monkeypatch, shape, found) -> None:
    """Said before a launch, which would fail with the driver's words."""
    monkeypatch.setattr(env, "backend_missing", lambda name: None if name == "triton" else "not here (test)")
    monkeypatch.setattr(env, "incapable", lambda device: None)
    large = torch.empty(shape, device="meta")
    fits = torch.empty([size - 1 if size > 3 else size for size in shape], device="meta")
    assert limits([fits], [0]) == {} and limits([fits, large], [0, 0]).keys() == {"triton"}
    cuda = torch.device("cuda")
    why = rf"triton: weights\[1\] has {found}, expected at most {max(shape) - 1}"
    with genfuse.backend(strict=True), pytest.raises(UnsupportedError, match=why):
        dispatch.select("spectral_norm", cuda, torch.float32, limits=limits([fits, large], [0, 0]))
    with FakeTensorMode():
        weight = torch.empty(shape, device="cuda")
        weight, u, v = (torch.empty(size, device="cuda") for size in (shape, shape[0], shape[1]))
        choice = genfuse.explain("spectral_norm", [weight], [u], [v])
    assert choice.backend == "aten" and found in choice.passed_over["triton"]


def test_backends() -> None:
    weights, us, vs, dims = small(torch.float32)
    with genfuse.backend("aten"):
        theirs, _ = spectral_norm(weights, us, vs, dims=dims, steps=0)
    ours, _ = spectral_norm(weights, us, vs, dims=dims, steps=0)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    wide = [t.double() for t in weights], [t.double() for t in us], [t.double() for t in vs]
    with genfuse.backend(strict=True), pytest.raises(UnsupportedError, match="dtype is torch\\.float64"):
        spectral_norm(*wide, dims=dims)
