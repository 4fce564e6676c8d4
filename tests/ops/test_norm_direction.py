"""`norm_direction` against its definition in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.ops import norm_direction
from genfuse_kernels import _cpu
from genfuse_kernels.norm_direction import reference, spec
from ops.cpu_cases import instruction_set

SHAPES = ((1,), (5,), (3, 17), (2, 3, 5, 7), (70_001,))


@pytest.fixture(params=_cpu.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[None]:
    with instruction_set(request.param):
        yield


def assert_near(x: Tensor) -> None:
    norms, direction = norm_direction(x)
    want_norms, want = reference.norm_direction(x.double())
    assert norms.dtype == direction.dtype == torch.float32
    assert norms.shape == x.shape[:1] and direction.shape == x.shape
    least = torch.finfo(torch.float32).smallest_normal * torch.finfo(torch.float32).eps / 2
    assert ((norms.double() - want_norms).abs() <= spec.tolerance() * want_norms + least).all()
    assert ((direction.double() - want).abs() <= spec.tolerance() * want.abs() + least).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", spec.DTYPES)
def test_against_the_definition(dtype: torch.dtype) -> None:
    for shape in SHAPES:
        assert_near(torch.randn((3, *shape)).to(dtype))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("scale", [1e-44, 1e-40, 1e-30, 1e-20, 1e18, 1e30, 1e37])
def test_any_magnitude(scale: float) -> None:
    """Where the squares overflow or vanish in float32; beside a sample of ordinary size."""
    x = torch.randn(3, 50, dtype=torch.float64) * torch.tensor([scale, 1.0, scale]).double()[:, None]
    assert_near(x.float())


@pytest.mark.usefixtures("isa")
def test_memory_of_any_order() -> None:
    x = torch.randn(4, 3, 6, 5)
    for given in (
        x.to(memory_format=torch.channels_last),
        x[:, :, ::2],
        x[::2],
        x[:, :1].expand(4, 3, 6, 5),
        x.transpose(0, 1),
        x[:1, :, 1:],
    ):
        assert_near(given)


def test_nothing() -> None:
    for shape in ((2, 3, 4), (2, 0), (0, 3), (0, 3, 2)):
        norms, direction = norm_direction(torch.zeros(shape))
        assert norms.shape == shape[:1] and norms.eq(0).all()
        assert direction.shape == shape and direction.eq(0).all()


def test_what_is_not_finite_stays_so_and_in_its_sample() -> None:
    for bad in (torch.inf, -torch.inf, torch.nan):
        x = torch.randn(3, 40)
        x[1, 7] = bad
        norms, direction = norm_direction(x)
        assert not norms[1].isfinite() and direction[1, 7].isnan()
        assert torch.equal(norms[::2], norm_direction(x[::2])[0]) and direction[::2].isfinite().all()


def test_threads_and_neighbours_change_no_bit() -> None:
    x = torch.randn(9, 4001)
    want = norm_direction(x)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert all(torch.equal(a, b) for a, b in zip(norm_direction(x), want, strict=True))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b[4:5]) for a, b in zip(norm_direction(x[4:5]), want, strict=True))


def test_gradients_compile_and_dispatch() -> None:
    x = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm_direction, x)
    assert genfuse.explain("norm_direction", x).backend == "aten"
    single = x.detach().float()
    assert genfuse.explain("norm_direction", single).backend == "cpu"
    compiled = torch.compile(norm_direction, fullgraph=True)
    assert all(torch.equal(a, b) for a, b in zip(compiled(single), norm_direction(single), strict=True))
    torch.library.opcheck(torch.ops.genfuse.norm_direction.default, (single,))


def test_bad_arguments() -> None:
    for x, error, words in (
        (torch.ones(()), ValueError, r"x has shape \(\), expected \(N, ...\)"),
        (torch.ones(3, dtype=torch.int64), TypeError, r"x has dtype torch\.int64, expected float32"),
        ([1.0], TypeError, r"x is list, expected a tensor \(N, ...\)"),
    ):
        with pytest.raises(error, match=words):
            norm_direction(x)  # type: ignore[arg-type]
