"""`bias_act` against its definition in float64, and its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.ops import bias_act
from genfuse_kernels.bias_act import reference, spec
from genfuse_kernels.bias_act.spec import ACTIVATIONS, Settings
from ops.bias_act_cases import SHAPES, Case, assert_near, generated
from ops.cpu_cases import LAYOUTS, laid_out, threads


def run(case: Case) -> Tensor:
    x, bias, scale, noise = case.tensors
    return bias_act(x, bias, scale=scale, noise=noise, **case.settings._asdict())


@pytest.mark.parametrize("dtype", spec.DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_generated_calls(dtype: torch.dtype, layout: str, isa: str, poisoned: None, proof: bool) -> None:
    first = 1000 * spec.DTYPES.index(dtype) + 100 * LAYOUTS.index(layout)
    for seed in range(first, first + (96 if proof else 12)):
        case = generated(seed, dtype)
        case = case._replace(x=laid_out(case.x, layout))
        assert genfuse.explain("bias_act", case.x).backend == "cpu"
        assert_near(run(case), case)


def is_off_the_kinks(case: Case, kept: Tensor) -> Tensor:
    """Where rounding changes no branch: neither 0 nor the clamp is near."""
    plain = case.settings._replace(activation="none", gain=1.0, clamp=None)
    wide = [None if t is None else t.double() for t in case.tensors]
    value = reference.bias_act(*wide, plain)  # type: ignore[arg-type]
    clear = value.abs() > 1e-5 * case.magnitude
    bound = case.settings.clamp
    if bound is not None:
        unbound = reference.bias_act(*wide, case.settings._replace(clamp=None))  # type: ignore[arg-type]
        clear &= (unbound.abs() - bound).abs() > 2 * torch.finfo(kept.dtype).eps * (
            bound + 1
        ) + 1e-5 * case.magnitude
    return clear


@pytest.mark.parametrize("dtype", spec.DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_generated_gradients(dtype: torch.dtype, layout: str, isa: str, poisoned: None, proof: bool) -> None:
    first = 1000 * spec.DTYPES.index(dtype) + 100 * LAYOUTS.index(layout) + 7
    for seed in range(first, first + (96 if proof else 12)):
        case = generated(seed, dtype)
        given = [None if t is None else t.clone().requires_grad_() for t in case.tensors]
        given[0] = laid_out(case.x, layout).requires_grad_()
        out = run(Case(*given, case.settings))  # type: ignore[arg-type]
        clear = is_off_the_kinks(case, out)
        gradient = torch.where(clear, torch.randn(out.shape), 0).to(dtype)
        asked = [t for t in given if t is not None]
        found = torch.autograd.grad(out, asked, gradient)
        wide = [None if t is None else t.detach().double().requires_grad_() for t in case.tensors]
        want_out = reference.bias_act(*wide, case.settings)  # type: ignore[arg-type]
        want = torch.autograd.grad(want_out, [t for t in wide if t is not None], gradient.double())
        bounds = magnitudes(case, gradient)
        for place, (got, exact, bound) in enumerate(zip(found, want, bounds, strict=True)):
            subnormal = torch.finfo(got.dtype).smallest_normal
            rounded = torch.finfo(got.dtype).eps * exact.abs()
            assert got.shape == exact.shape
            assert ((got.double() - exact).abs() <= bound + rounded + subnormal).all(), (case.settings, place)


def magnitudes(case: Case, gradient: Tensor) -> list[Tensor]:
    """Error allowed each gradient: x, bias, scale and noise, as far as there."""
    s, (x, bias, scale, noise) = case.settings, case.tensors
    steep = max(1.0, abs(s.negative_slope))
    of_value, of_result = spec.gradient_tolerance(torch.float32)
    raw = gradient.double().abs() * abs(s.gain) * (of_value * case.magnitude + 1.8 * of_result) * steep
    # Sums are rounded as float32, x's gradient of which noise's is a sum as x's dtype.
    terms = gradient.double().abs() * abs(s.gain) * 1.8 * steep
    terms = terms + raw
    half = torch.finfo(x.dtype).eps

    def summed(each: Tensor, axes: list[int]) -> Tensor:
        return each.sum(axes) if axes else each

    factor = 1 if scale is None else scale.double().abs().reshape(*scale.shape, *(1,) * (x.ndim - 2))
    bounds = [raw * factor + 2 * half * terms * factor * (noise is not None and scale is not None)]
    axes = [axis for axis in range(x.ndim) if axis != s.dim]
    error = spec.sum_tolerance(x.numel()) * terms + raw
    if bias is not None:
        bounds.append(summed(error, axes))
    if scale is not None:
        bounds.append(summed(error * x.double().abs(), list(range(2, x.ndim))))
    if noise is not None:
        over = error + half * terms
        bounds.append(over.sum((0, 1) if noise.shape[0] == 1 else 1, keepdim=True))
    return bounds


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_second_order(activation: Any) -> None:
    """By PyTorch's own ops in float64; behind the kernels' forward in float32 the same to its rounding."""
    x = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    bias, scale = (torch.randn(n, dtype=torch.float64, requires_grad=True) for n in ((2,), (2, 2)))
    noise = torch.randn(1, 1, 3, dtype=torch.float64, requires_grad=True)

    def call(*given: Tensor) -> Tensor:
        x, bias, scale, noise = given
        settings: Any = {"activation": activation, "gain": 1.3, "clamp": 2.5}
        return bias_act(x, bias, scale=scale, noise=noise, **settings)

    assert torch.autograd.gradcheck(call, (x, bias, scale, noise), check_batched_grad=True)
    assert torch.autograd.gradgradcheck(lambda *given: call(*given).square(), (x, bias, scale, noise))
    for with_scale in (True, False):
        wide = [x, bias, scale if with_scale else None, noise]
        exact = penalised(wide, activation)
        single = [None if t is None else t.detach().float().requires_grad_() for t in wide]
        found = penalised(single, activation)
        for got, want in zip(found, exact, strict=True):
            torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-4)


def penalised(given: list[Tensor | None], activation: Any) -> list[Tensor]:
    """The gradients of the square of the gradient by x."""
    x, bias, scale, noise = given
    assert x is not None
    out = bias_act(x, bias, scale=scale, noise=noise, activation=activation, gain=1.3, clamp=2.5)
    weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(out.dtype)
    (gradient,) = torch.autograd.grad((out.square() * weights).sum(), x, create_graph=True)
    asked = [t for t in given if t is not None]
    return list(torch.autograd.grad(gradient.square().sum(), asked))


def test_what_is_kept_for_backward() -> None:
    """One image: the result where its sign tells the derivative, x otherwise."""
    x, bias = torch.randn(2, 3, 8, 8, requires_grad=True), torch.randn(3)
    for activation, scale, is_result in (
        ("leaky_relu", None, True),
        ("silu", None, False),
        ("leaky_relu", torch.ones(2, 3), False),
    ):
        out = bias_act(x, bias, scale=scale, activation=activation)  # type: ignore[arg-type]
        kept = out.grad_fn.saved_tensors  # type: ignore[union-attr]
        images = [t for t in kept if t is not None and t.shape == x.shape]
        assert len(images) == 1 and torch.equal(images[0], out if is_result else x)


@pytest.mark.parametrize("last", [False, True])
def test_bits_depend_on_neither_threads_nor_batch(last: bool) -> None:
    x = torch.randn(5, 40, 33, 31)
    x = (x.to(memory_format=torch.channels_last) if last else x).requires_grad_()
    scale, noise = torch.randn(5, 40, requires_grad=True), torch.randn(5, 1, 33, 31)
    found = []
    for count in (1, 2, 3):
        with threads(count):
            out = bias_act(x, scale=scale, noise=noise, activation="silu")
            found.append((out.detach(), *torch.autograd.grad(out.sum(), (x, scale))))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    one = bias_act(x[1:2], scale=scale[1:2], noise=noise[1:2], activation="silu")
    assert torch.equal(one, found[0][0][1:2])
    assert found[0][0].is_contiguous(memory_format=torch.channels_last) == last


def test_extreme_values() -> None:
    x = torch.tensor([[torch.inf, -torch.inf, torch.nan, 3e38, -3e38, 1e-42, 0.0, -100.0]])
    for activation in ACTIVATIONS:
        for clamp in (None, 2.0):
            settings = Settings(activation=activation, gain=1.5, clamp=clamp)
            want = reference.bias_act(x.double(), None, None, None, settings).float()
            out = bias_act(x, activation=activation, gain=1.5, clamp=clamp)
            torch.testing.assert_close(out, want, rtol=1e-6, atol=1e-6, equal_nan=True)
            given = x.clone().requires_grad_()
            (found,) = torch.autograd.grad(
                bias_act(given, activation=activation, gain=1.5, clamp=clamp).sum(), given
            )
            assert found[0, 3:].isfinite().all() and found[0, :2].isfinite().all()


def test_compiles_and_dispatches() -> None:
    x, bias = torch.randn(2, 3, 8, 9, requires_grad=True), torch.randn(3, requires_grad=True)

    def call(x: Tensor, bias: Tensor) -> Tensor:
        return bias_act(x, bias, activation="leaky_relu", gain=1.4, clamp=2.0)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    for function in (call, compiled):
        function(x, bias).square().sum().backward()
    once = torch.autograd.grad(call(x, bias).square().sum(), (x, bias))
    assert torch.equal(compiled(x, bias), call(x, bias))
    assert torch.allclose(x.grad, 2 * once[0]) and torch.allclose(bias.grad, 2 * once[1])  # type: ignore[arg-type, operator]
    arguments = (x, bias, torch.randn(2, 3), torch.randn(2, 1, 8, 9), 1, "silu", 0.2, 1.5, 2.0)
    torch.library.opcheck(torch.ops.genfuse.bias_act.default, arguments)
    assert genfuse.explain("bias_act", x.double()).backend == "aten"
    with genfuse.backend("reference"):
        torch.testing.assert_close(call(x, bias), compiled(x, bias))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": torch.ones(2, 3, dtype=torch.int64)}, TypeError, "x has dtype"),
        ({"bias": torch.ones(4)}, ValueError, r"bias has shape \(4,\), expected \(3,\)"),
        ({"bias": torch.ones(3, dtype=torch.int64)}, TypeError, "bias has dtype"),
        ({"dim": 4}, ValueError, "dim is 4, expected an axis of x"),
        ({"dim": 0.5}, TypeError, "dim is 0.5, expected a whole number"),
        ({"activation": "swish"}, ValueError, "activation is 'swish'"),
        ({"gain": float("nan")}, ValueError, "gain is nan"),
        ({"clamp": -1}, ValueError, "clamp is -1, expected 0 or more"),
        ({"scale": torch.ones(3)}, ValueError, r"scale has shape \(3,\), expected \(2, 3\)"),
        ({"noise": torch.ones(2, 1, 4, 4)}, ValueError, r"noise has shape \(2, 1, 4, 4\), expected \(2, 1, 4, 5\)"),
        ({"scale": torch.ones(2, 3), "dim": 2, "bias": None}, ValueError, "scale is given, expected dim 1"),
    ],
)  # fmt: skip
def test_bad_arguments(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"x": torch.ones(2, 3, 4, 5), "bias": torch.ones(3)}
    with pytest.raises(error, match=message):
        bias_act(**{**given, **changed})


def test_shapes_cover_every_layout() -> None:
    found = {spec.layout(torch.empty(shape), dim, False)[3] for shape in SHAPES for dim in range(len(shape))}  # type: ignore[index]
    assert found == {False, True}
