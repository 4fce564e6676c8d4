"""Blocked neighbours against all distances at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from genfuse.evaluate import neighbours
from genfuse.evaluate.neighbours import balls_around, nearest, pairs_within, radii


@pytest.fixture(params=[True, False], ids=["blocks", "one block"], autouse=True)
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(neighbours, "WIDTH", 7)
        monkeypatch.setattr(neighbours, "HEIGHT", 5)


def test_against_all_distances() -> None:
    x, y = (
        torch.randn(23, 6),
        torch.randn(31, 6) + 100,
    )  # an offset costs digits where nothing is done about it
    all_of_them = (x.double()[:, None] - y.double()).norm(dim=2)
    distances, indices = nearest(x, y, 4)
    expected, which = all_of_them.topk(4, largest=False)
    assert distances.dtype == torch.float64 and torch.equal(indices, which)
    torch.testing.assert_close(distances, expected, rtol=1e-10, atol=0)
    within = torch.rand(31, dtype=torch.float64) + all_of_them.median()
    assert torch.equal(balls_around(x, y, within), (all_of_them <= within).sum(1))


def test_own_point_is_skipped() -> None:
    x = torch.randn(23, 6, dtype=torch.float64)
    own = (x[:, None] - x).norm(dim=2)
    torch.testing.assert_close(radii(x, 3), own.kthvalue(4).values, rtol=1e-10, atol=0)
    limit = own[own > 0].median().item()
    i, j = torch.triu_indices(23, 23, 1)
    assert pairs_within(x, limit) == int((own[i, j] <= limit).sum())
    _, indices = nearest(x, x, 1, skip_own=True)
    assert (indices[:, 0] != torch.arange(23)).all()


def test_copies_are_at_no_distance() -> None:
    """‖x‖² + ‖y‖² − 2x·y would leave a rounding, and a ball of radius 0 would not hold the copy that it is around."""
    x = torch.randn(20, 300) * 1e3
    distances, indices = nearest(x, x.flip(0))
    assert torch.equal(indices[:, 0], torch.arange(20).flip(0)) and (distances == 0).all()
    assert (balls_around(x, x, torch.zeros(20, dtype=torch.float64)) == 1).all()
    near = x.double() * (1 + 1e-6)
    assert (nearest(near, x)[0] > 0).all()


X = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nearest(X, X, 4, skip_own=True), ValueError, r"k is 4, expected 1 to 3"),
        (lambda: nearest(X, X, 0), ValueError, r"k is 0, expected 1 to 4"),
        (lambda: nearest(X[:, :2], X), ValueError, r"queries has 2 features a sample, expected 3"),
        (lambda: nearest(X, X[:0]), ValueError, r"points has shape \(0, 3\)"),
        (lambda: nearest(X, X / 0), ValueError, r"points is not finite"),
        (lambda: nearest(X.int(), X), TypeError, r"queries is torch.int32"),
    ],
)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_no_queries() -> None:
    distances, indices = nearest(X[:0], X, 2)
    assert distances.shape == indices.shape == (0, 2)
