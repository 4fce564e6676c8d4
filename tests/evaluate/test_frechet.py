"""The Fréchet distance against closed forms and scipy's matrix square root."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn

from evaluate.peers import torch_fidelity
from genfuse.evaluate import Moments, fid, frechet_distance


def with_moments(mean: Tensor, covariance: Tensor, count: int = 50) -> Tensor:
    """(count, D) float64 whose mean and covariance are these to rounding: white samples, coloured."""
    x = torch.randn(count, len(mean), dtype=torch.float64)
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(x.mT @ x / (count - 1)), x.mT, upper=False).mT
    return white @ torch.linalg.cholesky(covariance).mT + mean


def test_one_dimension() -> None:
    """(μ₁ − μ₂)² + (σ₁ − σ₂)²"""
    x, y = (
        with_moments(torch.tensor([mean], dtype=torch.float64), torch.tensor([[deviation**2]]).double())
        for mean, deviation in ((1.0, 2.0), (-0.5, 0.25))
    )
    assert math.isclose(frechet_distance(x, y), 1.5**2 + 1.75**2, rel_tol=1e-12)


def test_covariances_with_common_axes() -> None:
    """‖μ₁ − μ₂‖² + Σ (√λᵢ − √κᵢ)² where both are diagonal in one basis."""
    basis, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))
    of_x, of_y = torch.rand(2, 6, dtype=torch.float64) + 0.01
    means = torch.randn(2, 6, dtype=torch.float64)
    x = with_moments(means[0], basis * of_x @ basis.mT)
    y = with_moments(means[1], basis * of_y @ basis.mT)
    expected = (means[0] - means[1]).square().sum() + (of_x.sqrt() - of_y.sqrt()).square().sum()
    assert math.isclose(frechet_distance(x, y), expected, rel_tol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_against_scipy(dtype: torch.dtype) -> None:
    """General covariances; every dtype is widened, so scipy sees the same numbers."""
    x = (torch.randn(90, 12) @ torch.randn(12, 12)).to(dtype)
    y = (torch.randn(70, 12) @ torch.randn(12, 12) + 1).to(dtype)
    a, b = x.double().numpy(), y.double().numpy()
    root = np.real(sqrtm(np.cov(a.T) @ np.cov(b.T)))
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    got = frechet_distance(x, y)
    assert got.dtype == torch.float64 and math.isclose(got, expected, rel_tol=1e-9)


def test_singular_covariances() -> None:
    """Fewer samples than features: of equal sets 0 to the root of rounding, of a shift its square."""
    x = torch.randn(5, 40, dtype=torch.float64)
    assert 0 <= frechet_distance(x, x) < 1e-5
    assert math.isclose(frechet_distance(x, x + 2), 160, rel_tol=1e-6)
    constant = torch.zeros(3, 4)
    assert frechet_distance(constant, constant + 1) == 4


def test_few_samples() -> None:
    """10 of 300 features: equal sets are no distance apart to rounding, where roots of eigenvalues leave 1e-6.

    And sets of two subspaces are ‖μ₁ − μ₂‖² + tr Σ₁ + tr Σ₂ apart, nothing of which is of a null space.
    """
    x, y = torch.zeros(10, 300, dtype=torch.float64), torch.zeros(10, 300, dtype=torch.float64)
    x[:, :150], y[:, 150:] = torch.randn(10, 150), torch.randn(10, 150)
    apart = (x.mean(0) - y.mean(0)).square().sum() + x.var(0).sum() + y.var(0).sum()
    for first, second in ((x, y), (Moments.of(x), Moments.of(y)), (x, Moments.of(y))):
        assert frechet_distance(first, first) < 1e-11
        assert math.isclose(frechet_distance(first, second), apart, rel_tol=1e-12)


def test_moments_are_as_good_as_features() -> None:
    x, y = torch.randn(60, 8), 2 * torch.randn(50, 8) + 1
    moments = Moments(8)
    for part in x.split(7):
        moments.update(part)
    assert math.isclose(frechet_distance(moments, y), frechet_distance(x, y), rel_tol=1e-10)
    with pytest.raises(ValueError, match="there are 1 samples, expected at least 2"):
        frechet_distance(Moments.of(x[:1]), y)


@pytest.mark.parametrize("count", [40, 400])
def test_against_torchmetrics_and_torch_fidelity(count: int) -> None:
    """Above and below the number of features; theirs are the roots of eigenvalues of Σ₁Σ₂."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    x = torch.randn(count, 64, dtype=torch.float64) @ torch.randn(64, 64, dtype=torch.float64) / 8
    y = torch.randn(300, 64, dtype=torch.float64) + 0.2
    got = frechet_distance(x, Moments.of(y)).item()

    class Identity(nn.Identity):
        num_features = 64

    metric = FrechetInceptionDistance(Identity()).set_dtype(torch.float64)
    metric.update(y, real=True)
    metric.update(x, real=False)
    assert got == pytest.approx(metric.compute().item(), rel=1e-6)
    peer = torch_fidelity("metric_fid")
    statistics = [peer.fid_features_to_statistics(of) for of in (x, y)]
    expected = peer.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert got == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", [5, 40])
def test_gradient(count: int) -> None:
    """Below and above the number of features; differences of float64."""
    x, y = torch.randn(count, 8, dtype=torch.float64, requires_grad=True), torch.randn(60, 8)
    assert torch.autograd.gradcheck(lambda x: frechet_distance(x, y), (x,), atol=1e-6)


def test_symmetric_and_blind_to_order() -> None:
    x, y = torch.randn(30, 5, dtype=torch.float64), 2 * torch.randn(40, 5, dtype=torch.float64) + 1
    assert math.isclose(frechet_distance(x, y), frechet_distance(y, x), rel_tol=1e-10)
    assert math.isclose(frechet_distance(x.flip(0), y), frechet_distance(x, y), rel_tol=1e-10)


def test_fid_is_the_distance_of_all_features() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    x, y = torch.randn(7, 3, 2, 2), torch.randn(9, 3, 2, 2)
    whole = frechet_distance(network(x).detach(), network(y).detach())
    assert math.isclose(fid(network, x, y, batch_size=4), whole, rel_tol=1e-4)


X = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: frechet_distance(X, X[:, :2]), ValueError, r"other has 2 features a sample, expected 3"),
        (lambda: frechet_distance(X[:1], X), ValueError, r"features has shape \(1, 3\), expected \(N, D\)"),
        (lambda: frechet_distance(X, X[0]), ValueError, r"other has shape \(3,\), expected \(N, D\)"),
        (lambda: frechet_distance(X.int(), X), TypeError, r"features is torch.int32, expected a floating"),
        (lambda: frechet_distance(X, X / 0), ValueError, r"other is not finite"),
        (lambda: fid(nn.Identity(), X, X, batch_size=0), ValueError, r"batch_size is 0, expected 1 or more"),
    ],
)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
