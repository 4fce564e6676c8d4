"""`norm_tangent` against its definition in float64: values and gradients, of every kind of set and weight."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.errors import UnsupportedError
from genfuse.ops import norm_tangent
from genfuse_kernels import _cpu
from genfuse_kernels.norm_tangent import reference
from ops.cpu_cases import instruction_set
from ops.tangent_cases import EPS, SIZES, assert_near, at_once, case, run


@pytest.fixture(params=_cpu.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[None]:
    with instruction_set(request.param):
        yield


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("size", SIZES)
def test_against_the_definition(size: str) -> None:
    assert_near(size)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("size", SIZES)
def test_result_and_gradients_at_once_are_the_same(size: str) -> None:
    given, gradient = case(size)
    found = at_once(given, gradient, "cpu")
    assert all(torch.equal(a, b) for a, b in zip(found, run(given, gradient), strict=True))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(("offset", "scale"), [(1e4, 1e-2), (0.0, 1e-12), (-3.0, 1e6)])
def test_extreme_values(offset: float, scale: float) -> None:
    for size in ("instance norm", "layer norm"):
        assert_near(size, offset, scale)


def test_the_definition() -> None:
    """Against PyTorch's forward mode, where that is exact: the value; and by finite differences, twice."""
    x, tangent = (torch.randn(4, 9, dtype=torch.float64) for _ in range(2))
    weight = torch.randn(2, 3, dtype=torch.float64)

    def norm(x: Tensor) -> Tensor:
        return torch.nn.functional.group_norm(x.reshape(2, 6, 3), 2, weight.reshape(6), None, EPS).reshape(
            4, 9
        )

    _, want = torch.func.jvp(norm, (x,), (tangent,))
    assert torch.allclose(reference.norm_tangent(x, tangent, weight, EPS), want, rtol=1e-12)
    inputs = [t.requires_grad_() for t in (x, tangent, weight)]
    assert torch.autograd.gradcheck(lambda *of: norm_tangent(*of, eps=EPS), inputs)
    assert torch.autograd.gradgradcheck(lambda *of: norm_tangent(*of, eps=EPS), inputs)


def test_second_order_is_composed() -> None:
    given, gradient = case("group norm")
    leaves = [t.requires_grad_() for t in given if t is not None]
    y = norm_tangent(*leaves, eps=EPS)
    found = torch.autograd.grad(y, leaves, gradient, create_graph=True)
    plain = torch.autograd.grad(y, leaves, gradient)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(found, plain, strict=True))
    assert all(one.requires_grad for one in found)


def test_what_is_not_asked_for_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    from genfuse_kernels.norm_tangent import cpu_gradient

    asked: list[list[str]] = []
    own = cpu_gradient.norm_tangent_gradient

    def seen(*args: object) -> dict[str, Tensor]:
        asked.append(list(args[5]))  # type: ignore[call-overload]
        return own(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(cpu_gradient, "norm_tangent_gradient", seen)
    given, gradient = case("group norm")
    leaves = [t.requires_grad_() for t in given if t is not None]
    torch.autograd.grad(norm_tangent(*leaves, eps=EPS), leaves[2], gradient)
    assert asked == [["weight"]]


def test_strides_threads_and_neighbours_change_no_bit() -> None:
    given, gradient = case("large")
    want = run(given, gradient)
    spread = [None if t is None else torch.stack([t, t], -1)[..., 0] for t in given]
    assert not spread[0].is_contiguous()  # type: ignore[union-attr]
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            got = run(spread, torch.stack([gradient, gradient], -1)[..., 0])
            assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    finally:
        torch.set_num_threads(threads)
    x, tangent, weight = given
    assert x is not None and tangent is not None
    assert torch.equal(norm_tangent(x[1:2], tangent[1:2], weight, eps=EPS), want[0][1:2])


def test_everything_is_written() -> None:
    """Of memory that holds NaN."""
    from genfuse_kernels.norm_tangent.cpu_impl import run as kernel

    for size in SIZES:
        (x, tangent, weight), gradient = case(size)
        assert x is not None and tangent is not None
        room = {name: torch.full_like(x, torch.nan) for name in ("out", "x_gradient", "tangent_gradient")}
        if weight is not None:
            room["weight_gradient"] = torch.full_like(weight, torch.nan)
        kernel(x, tangent, weight, EPS, gradient=gradient, **room)
        assert all(t.isfinite().all() for t in room.values())


def test_compile_dispatch_and_dtypes() -> None:
    given, _ = case("group norm")
    x, tangent, weight = given
    assert x is not None and tangent is not None and weight is not None
    compiled = torch.compile(lambda *of: norm_tangent(*of, eps=EPS), fullgraph=True)
    assert torch.equal(compiled(x, tangent, weight), norm_tangent(x, tangent, weight, eps=EPS))
    torch.library.opcheck(torch.ops.genfuse.norm_tangent.default, (x, tangent, weight, EPS))
    assert genfuse.explain("norm_tangent", x, tangent).backend == "cpu"
    for dtype in (torch.float64, torch.bfloat16):
        assert genfuse.explain("norm_tangent", x.to(dtype), tangent.to(dtype)).backend == "aten"
        with genfuse.backend("cpu"), pytest.raises(UnsupportedError, match=r"expected one of torch\.float32"):
            norm_tangent(x.to(dtype), tangent.to(dtype))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": torch.ones(3)}, ValueError, r"x has shape \(3,\), expected \(B, S\)"),
        ({"x": torch.ones(6, 0)}, ValueError, r"x has shape \(6, 0\), expected \(B, S\)"),
        ({"tangent": torch.ones(6, 3)}, ValueError, r"tangent has shape \(6, 3\), expected \(6, 4\) as x"),
        ({"weight": torch.ones(4, 2)}, ValueError, r"weight has shape \(4, 2\), expected \(R, K\), divisors of 6"),
        ({"weight": torch.ones(2)}, ValueError, r"weight has shape \(2,\), expected \(R, K\)"),
        ({"weight": torch.ones(2, 2).double()}, TypeError, "weight has dtype torch.float64"),
        ({"eps": -1.0}, ValueError, "eps is -1.0, expected 0 or more"),
        ({"eps": "0"}, TypeError, "eps is '0', expected a number"),
    ],
)  # fmt: skip
def test_bad_arguments(changed: dict[str, object], error: type[Exception], message: str) -> None:
    given: dict[str, object] = {
        "x": torch.ones(6, 4),
        "tangent": torch.ones(6, 4),
        "weight": torch.ones(2, 2),
    }
    with pytest.raises(error, match=message):
        norm_tangent(**{**given, **changed})  # type: ignore[arg-type]
