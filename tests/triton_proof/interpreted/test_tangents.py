"""The tangents' ops in Triton against their references; and penalties on Triton's kernels."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse_kernels.leaky_relu_tangent import reference as leaky_relu_reference
from genfuse_kernels.leaky_relu_tangent import spec as leaky_relu_spec
from genfuse_kernels.leaky_relu_tangent.triton_impl import leaky_relu_tangent
from genfuse_kernels.norm_direction import reference as norm_reference
from genfuse_kernels.norm_direction import spec as norm_spec
from genfuse_kernels.norm_direction.triton_impl import norm_direction
from ops import tangent_cases

SUBNORMAL = torch.finfo(torch.float32).smallest_normal * torch.finfo(torch.float32).eps / 2


@pytest.mark.parametrize("dtype", leaky_relu_spec.DTYPES)
def test_leaky_relu_tangent(dtype: torch.dtype) -> None:
    whole, mask = torch.randn(3, 4, 7, 30).to(dtype), torch.rand(3, 4, 7, 30) < 0.5
    last = torch.channels_last
    for x, m in (
        (whole, mask),
        (whole.to(memory_format=last), mask),
        (whole.to(memory_format=last), mask.to(memory_format=last)),
        (whole[..., 1:], mask[..., 1:]),
        (whole[:0], mask[:0]),
    ):
        for slope in (0.0, 0.2):
            out = torch.full_like(x, torch.nan)
            leaky_relu_tangent(out, x, m, slope)
            want = leaky_relu_reference.leaky_relu_tangent(x.double(), m, slope)
            bound = leaky_relu_spec.tolerance(dtype) * want.abs() + leaky_relu_spec.least(dtype)
            assert ((out.double() - want).abs() <= bound).all()
            room = x.clone()
            leaky_relu_tangent(room, room, m, slope)
            assert torch.equal(room, out)
            leaky_relu_tangent(out, x, m, slope, 1.5)
            want = leaky_relu_reference.leaky_relu_tangent(x.double(), m, slope, 1.5)
            bound = leaky_relu_spec.tolerance(dtype) * want.abs() + leaky_relu_spec.least(dtype)
            assert ((out.double() - want).abs() <= bound).all()


def assert_near(x: Tensor) -> None:
    norms, direction = torch.full(x.shape[:1], torch.nan), torch.full_like(x, torch.nan, dtype=torch.float32)
    norm_direction(norms, direction, x)
    want_norms, want = norm_reference.norm_direction(x.double())
    assert ((norms.double() - want_norms).abs() <= norm_spec.tolerance() * want_norms + SUBNORMAL).all()
    assert ((direction.double() - want).abs() <= norm_spec.tolerance() * want.abs() + SUBNORMAL).all()


@pytest.mark.parametrize("dtype", norm_spec.DTYPES)
def test_norm_direction(dtype: torch.dtype) -> None:
    x = torch.randn(3, 4, 7, 50).to(dtype)
    for given in (x, x.to(memory_format=torch.channels_last), x[:, :, ::2], x[:1], x[:0], x * 0):
        assert_near(given)


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e30, 1e37])
def test_norm_direction_of_any_magnitude(scale: float) -> None:
    assert_near((torch.randn(2, 40).double() * scale).float())


@pytest.mark.parametrize("size", tangent_cases.SIZES)
def test_norm_tangent(size: str) -> None:
    with genfuse.backend("triton"):
        tangent_cases.assert_near(size)


@pytest.mark.parametrize(("offset", "scale"), [(1e4, 1e-2), (0.0, 1e-12), (-3.0, 1e6)])
@pytest.mark.parametrize("size", ["instance norm", "layer norm"])
def test_norm_tangent_of_extreme_values(size: str, offset: float, scale: float) -> None:
    with genfuse.backend("triton"):
        tangent_cases.assert_near(size, offset, scale)


@pytest.mark.parametrize("size", ["instance norm", "layer norm", "no sets"])
def test_norm_tangent_with_its_gradients_at_once(size: str) -> None:
    given, gradient = tangent_cases.case(size)
    found = tangent_cases.at_once(given, gradient, "triton")
    with genfuse.backend("triton"):
        apart = tangent_cases.run(given, gradient)
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(found, apart, strict=True))


def test_norm_tangent_writes_everything() -> None:
    """Over NaN; and each set as if it were alone."""
    from genfuse_kernels.norm_tangent.triton_impl import norm_tangent

    (x, tangent, weight), _ = tangent_cases.case("layer norm")
    assert x is not None and tangent is not None
    out, alone = torch.full_like(x, torch.nan), torch.full_like(x[1:2], torch.nan)
    norm_tangent(out, x, tangent, weight, 1e-5)
    norm_tangent(alone, x[1:2], tangent[1:2], weight, 1e-5)
    assert out.isfinite().all() and torch.equal(out[1:2], alone)


@pytest.mark.parametrize("norm", [nn.Identity(), nn.GroupNorm(4, 16), nn.LayerNorm([16, 3, 3])])
def test_a_penalty(norm: nn.Module) -> None:
    """All of it but the flattened scores' product, and a norm's own forward and backward, on Triton's kernels."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), norm, nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(16, 1, 3), nn.Flatten(),
    )  # fmt: skip
    point = torch.randn(2, 3, 6, 6)

    def gradients(network: nn.Module, point: Tensor) -> list[Tensor]:
        penalty = genfuse.gradient_penalty(network, point, kind="r1", weight=1.0)
        assert isinstance(penalty, Tensor)
        weights = list(network.parameters())
        return list(torch.autograd.grad(penalty, weights, allow_unused=True, materialize_grads=True))

    exact = gradients(copy.deepcopy(network).double(), point.double())
    with genfuse.backend("triton"):
        found = gradients(network, point)
    largest = max(float(one.norm()) for one in exact)
    assert max(float((a - b).norm()) for a, b in zip(found, exact, strict=True)) <= 1e-5 * largest
