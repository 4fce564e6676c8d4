"""Precision, recall, density and coverage against their definitions and torch-fidelity."""

from __future__ import annotations

import pytest
import torch

from evaluate.peers import torch_fidelity
from genfuse.evaluate import manifolds


def by_definition(x: torch.Tensor, real: torch.Tensor, k: int) -> tuple[float, float, float, float]:
    """Loops over samples, each of whose balls ends at the k-th of the sorted distances to the others."""

    def ball(points: torch.Tensor, i: int) -> torch.Tensor:
        return sorted((points[i] - points[j]).norm() for j in range(len(points)) if j != i)[k - 1]

    def holds(points: torch.Tensor, i: int, query: torch.Tensor) -> bool:
        return bool((points[i] - query).norm() <= ball(points, i))

    inside = [[holds(real, i, query) for i in range(len(real))] for query in x]
    reached = [any(holds(x, i, query) for i in range(len(x))) for query in real]
    return (
        sum(any(row) for row in inside) / len(x),
        sum(reached) / len(real),
        sum(sum(row) for row in inside) / (k * len(x)),
        sum(any(column) for column in zip(*inside, strict=True)) / len(real),
    )


@pytest.mark.parametrize("k", [1, 3])
def test_by_definition(k: int) -> None:
    x, real = torch.randn(14, 3, dtype=torch.float64) + 0.5, torch.randn(17, 3, dtype=torch.float64)
    got = manifolds(x, real, k)
    assert (got.precision, got.recall, got.density, got.coverage) == pytest.approx(
        by_definition(x, real, k), abs=1e-12
    )


def test_against_torch_fidelity() -> None:
    peer = torch_fidelity("metric_prc")
    x, real = torch.randn(300, 24, dtype=torch.float64) + 0.1, torch.randn(400, 24, dtype=torch.float64)
    precision, recall = peer.calculate_precision_recall_full(x, real, neighborhood=3)
    got = manifolds(x, real, 3)
    assert (got.precision, got.recall) == pytest.approx((precision, recall), abs=1e-6)


def test_what_they_tell_apart() -> None:
    """Copies of a few, a wide spread, and the same distribution."""
    real = torch.randn(500, 4)
    few = real[:5].repeat(100, 1) + 1e-3 * torch.randn(500, 4)
    wide = 5 * torch.randn(500, 4)
    same = torch.randn(500, 4)
    collapsed, spread, alike = (manifolds(x, real) for x in (few, wide, same))
    assert collapsed.precision == 1 and collapsed.recall < 0.1 and collapsed.coverage < 0.1
    assert spread.precision < 0.2 and spread.recall > 0.8
    assert abs(alike.density - 1) < 0.1 and alike.coverage > 0.9 and alike.recall > 0.8


def test_a_copy_of_twins_is_in_their_balls() -> None:
    """Real ones that are there twice have balls of radius 0 with k = 1; what equals them lies inside."""
    real = torch.randn(6, 3).repeat(2, 1)
    assert manifolds(real[:6], real, 1).precision == manifolds(real[:6], real, 1).coverage == 1


def test_errors() -> None:
    with pytest.raises(ValueError, match="k is 5, expected 1 to 4"):
        manifolds(torch.randn(9, 3), torch.randn(5, 3))
    with pytest.raises(ValueError, match="features a sample"):
        manifolds(torch.randn(9, 2), torch.randn(9, 3))
