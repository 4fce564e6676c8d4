"""The mixtures have the modes that they say, in equal parts, and count what a generator found of them."""

from __future__ import annotations

import math

import pytest
import torch

from genfuse.data import mixture

NAMES = {"8-gaussians": 8, "25-gaussians": 25, "swiss-roll": 50}


@pytest.mark.parametrize("name", NAMES)
def test_points_lie_evenly_around_their_centres(name: str) -> None:
    """10,000 points: every centre has its part within 6 deviations of chance, all within 0.3."""
    drawn = mixture(name)
    points = drawn.draw(10_000, torch.Generator().manual_seed(0))
    assert points.dtype == torch.float32 and points.shape == (10_000, 2)
    assert drawn.centres.shape == (NAMES[name], 2)
    part = 1 / NAMES[name]
    shares = drawn.shares(points, 0.3)
    assert ((shares - part).abs() < 6 * math.sqrt(part / 10_000)).all(), shares
    assert math.isclose(shares.sum(), 1, abs_tol=1e-3)


@pytest.mark.parametrize("name", ["8-gaussians", "25-gaussians"])
def test_scale(name: str) -> None:
    """Unit deviation along each axis, and what is left when the centre is taken away has the deviation said."""
    drawn = mixture(name)
    torch.testing.assert_close(drawn.centres.square().mean(0), torch.ones(2), rtol=1e-3, atol=0)
    points = drawn.draw(20_000, torch.Generator().manual_seed(1))
    nearest = drawn.centres[torch.cdist(points, drawn.centres).argmin(1)]
    torch.testing.assert_close(
        (points - nearest).std(0), torch.full((2,), drawn.deviation), rtol=0.02, atol=0
    )


def test_swiss_roll_is_scikit_learns() -> None:
    """Without noise the distance from the origin gives t, and t the angle."""
    drawn = mixture("swiss-roll")
    places = 7.5 * drawn.place(torch.rand(500).double())
    t = places.norm(dim=1)
    assert (t >= 1.5 * math.pi - 1e-6).all() and (t <= 4.5 * math.pi + 1e-6).all()
    torch.testing.assert_close(places, t[:, None] * torch.stack((t.cos(), t.sin()), 1))
    assert drawn.deviation == 0.25 / 7.5


def test_same_generator_same_points() -> None:
    drawn = mixture("25-gaussians")
    first, again = (drawn.draw(7, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)


def test_shares_count_what_is_near() -> None:
    drawn = mixture("8-gaussians")
    points = torch.cat((drawn.centres[[0, 0, 5]], drawn.centres[[2]] + 0.2))
    assert drawn.shares(points, 0.1).tolist() == [0.5, 0, 0, 0, 0, 0.25, 0, 0]


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"mixture is '9-gaussians', expected one of .*did you mean '"):
        mixture("9-gaussians")
