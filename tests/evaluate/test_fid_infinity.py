"""The extrapolated distance against that of the distributions themselves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from genfuse.evaluate import Moments, fid_infinity, frechet_distance

D = 16


def normal(root: Tensor, shift: float, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, D, dtype=torch.float64, generator=generator) @ root + shift


def moments_of_all(root: Tensor, shift: float) -> Moments:
    """Those of the distribution, as if of samples without number."""
    moments = Moments(D)
    moments.count, moments.mean = 10**9, torch.full((D,), shift, dtype=torch.float64)
    moments.scatter = root.mT @ root * (moments.count - 1)
    return moments


def test_bias_goes() -> None:
    """Of 400 samples the distance is 60 % too large; extrapolated, it is right to the noise of eight draws."""
    root = torch.randn(D, D, dtype=torch.float64) / 4
    real, true = moments_of_all(root, 0.0), moments_of_all(1.1 * root, 0.1)
    expected = frechet_distance(true, real).item()
    samples = [normal(1.1 * root, 0.1, 400, seed) for seed in range(8)]
    plain = sum(frechet_distance(x, real).item() for x in samples) / 8
    extrapolated = torch.stack([fid_infinity(x, real, seed=seed) for seed, x in enumerate(samples)])
    assert plain > 1.3 * expected
    assert abs(extrapolated.mean() - expected) < 3 * extrapolated.std() / math.sqrt(8)
    assert extrapolated.std() < 0.2 * expected


def test_a_line_through_two_sizes() -> None:
    """By hand: with sizes N/2 and N the line meets the axis at 2·d(N) − d(N/2)."""
    x, real = normal(torch.eye(D).double(), 0.0, 200, 0), normal(torch.eye(D).double(), 0.5, 300, 1)
    generator = torch.Generator().manual_seed(5)
    half = x[torch.randperm(200, generator=generator)[:100]]
    expected = 2 * frechet_distance(x, real) - frechet_distance(half, real)
    got = fid_infinity(x, real, sizes=2, smallest=100, seed=5)
    assert got.dtype == torch.float64 and math.isclose(got, expected, rel_tol=1e-9)
    by_moments = fid_infinity(x, Moments.of(real), sizes=2, smallest=100, seed=5)
    assert math.isclose(got, by_moments, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smallest": 1}, "smallest is 1, expected 2 to 19"),
        ({"smallest": 20}, "smallest is 20, expected 2 to 19"),
        ({"sizes": 1}, "sizes is 1, expected 2 or more"),
    ],
)
def test_errors(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fid_infinity(torch.randn(20, 3), torch.randn(20, 3), **options)
