"""`leaky_relu_tangent` against its definition in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.ops import leaky_relu_tangent
from genfuse_kernels import _cpu
from genfuse_kernels.leaky_relu_tangent import cpu_impl, reference, spec
from ops.cpu_cases import instruction_set

SHAPES = ((), (1,), (5,), (3, 17), (2, 3, 5, 7), (2, 1031), (40, 33, 29), (0, 4))


@pytest.fixture(params=_cpu.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[None]:
    with instruction_set(request.param):
        yield


def case(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.randn((2, *shape)).to(dtype), torch.rand((2, *shape)) < 0.6


def near(out: Tensor, tangent: Tensor, mask: Tensor, slope: float, positive: float = 1.0) -> bool:
    want = reference.leaky_relu_tangent(tangent.double(), mask, slope, positive)
    same = out.dtype == tangent.dtype and out.shape == tangent.shape
    bound = spec.tolerance(out.dtype) * want.abs() + spec.least(out.dtype)
    return same and bool(((out.double() - want).abs() <= bound).all())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", spec.DTYPES)
@pytest.mark.parametrize("slope", [0.0, 0.2, -1.5])
def test_against_the_definition(dtype: torch.dtype, slope: float) -> None:
    for shape in SHAPES:
        tangent, mask = case(shape, dtype)
        assert near(leaky_relu_tangent(tangent, mask, slope), tangent, mask, slope)
        assert near(leaky_relu_tangent(tangent, mask, slope, 2**0.5), tangent, mask, slope, 2**0.5)


@pytest.mark.usefixtures("isa")
def test_in_place_and_in_memory_of_any_order() -> None:
    tangent, mask = case((6, 5, 7), torch.float32)
    last = torch.channels_last
    for a, b in (
        (tangent.to(memory_format=last), mask.to(memory_format=last)),
        (tangent.to(memory_format=last), mask),
        (tangent[:, ::2], mask[:, ::2]),
        (tangent[..., 1:], mask[..., 1:]),
        (tangent[:, :1].expand(2, 6, 5, 7), mask),
    ):
        want = reference.leaky_relu_tangent(a, b, 0.2)
        assert torch.equal(leaky_relu_tangent(a, b, 0.2), want)
        room = a.clone()
        cpu_impl.leaky_relu_tangent(room, room, b, 0.2)
        assert torch.equal(room, want)


def test_what_is_not_finite() -> None:
    tangent = torch.tensor([torch.inf, -torch.inf, torch.nan, 1.0])
    for mask in (torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)):
        want = reference.leaky_relu_tangent(tangent, mask, 0.0)
        assert torch.equal(leaky_relu_tangent(tangent, mask, 0.0).nan_to_num(7), want.nan_to_num(7))


def test_gradients_compile_and_dispatch() -> None:
    tangent, mask = case((3, 4), torch.float64)
    assert torch.autograd.gradcheck(lambda t: leaky_relu_tangent(t, mask, 0.3), tangent.requires_grad_())
    assert genfuse.explain("leaky_relu_tangent", tangent, mask).backend == "aten"
    single = tangent.detach().float()
    assert genfuse.explain("leaky_relu_tangent", single, mask).backend == "cpu"
    compiled = torch.compile(lambda t: leaky_relu_tangent(t, mask, 0.3), fullgraph=True)
    assert torch.equal(compiled(single), leaky_relu_tangent(single, mask, 0.3))
    torch.library.opcheck(torch.ops.genfuse.leaky_relu_tangent.default, (single, mask, 0.3))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"tangent": [1.0]}, TypeError, r"tangent is list, expected a tensor \(N, ...\)"),
        ({"mask": torch.ones(2, 3)}, TypeError, r"mask has dtype torch\.float32, expected torch\.bool"),
        ({"mask": torch.ones(2, dtype=torch.bool)}, ValueError, r"mask has shape \(2,\), expected \(2, 3\)"),
        ({"negative_slope": float("inf")}, ValueError, "negative_slope is inf, expected a finite number"),
        ({"positive_slope": float("nan")}, ValueError, "positive_slope is nan, expected a finite number"),
    ],
)
def test_bad_arguments(changed: dict[str, object], error: type[Exception], message: str) -> None:
    given: dict[str, object] = {"tangent": torch.ones(2, 3), "mask": torch.ones(2, 3, dtype=torch.bool)}
    with pytest.raises(error, match=message):
        leaky_relu_tangent(**{**given, **changed})  # type: ignore[arg-type]
