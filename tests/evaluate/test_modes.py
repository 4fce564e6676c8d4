"""Counts of modes, and the birthday paradox on generators of known support."""

from __future__ import annotations

import math

import pytest
import torch

from genfuse.evaluate import Counts, alike_within, birthday


def counted(*counts: int) -> Counts:
    made = Counts(len(counts))
    made.update(torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)))
    return made


def test_counts() -> None:
    even, one, dropped = counted(5, 5, 5, 5), counted(20, 0, 0, 0), counted(10, 10, 0, 0)
    assert (even.hit, one.hit, dropped.hit) == (4, 1, 2)
    assert even.effective == pytest.approx(4) and one.effective == 1 and dropped.effective == pytest.approx(2)
    assert (even.largest_share, one.largest_share) == (0.25, 1)
    assert even.total_variation(dropped) == 0.5 and one.total_variation(one) == 0
    none = Counts(4)
    assert none.hit == 0 and none.effective == 0 and math.isnan(none.largest_share)
    assert math.isnan(none.total_variation(even))
    with pytest.raises(TypeError, match=r"which is torch.float32"):
        none.update(torch.zeros(3))


@pytest.mark.parametrize("support", [50, 400])
def test_birthday_of_a_known_support(support: int) -> None:
    """A generator of so many pictures, each as often, with a little noise. Pairs are Poisson: six deviations."""
    pictures = torch.randn(support, 8)
    drawn = torch.randint(support, (1000,))
    samples = pictures[drawn] + 1e-4 * torch.randn(1000, 8)
    got = birthday(samples, 0.01)
    same = (drawn[:, None] == drawn).triu(1).sum().item()
    assert got.pairs == same and not got.bound
    assert abs(got.support / support - 1) < 6 / math.sqrt(same)
    # s pictures of this support hold a pair as likely as not: the product of (1 − i/support) is a half there
    chance, batch = 1.0, 0
    while chance > 0.5:
        batch += 1
        chance *= 1 - batch / support
    assert abs(got.batch - batch) < 2 + 0.3 * batch


def test_no_pair_is_a_bound() -> None:
    got = birthday(torch.arange(100.0)[:, None], 0.5)
    assert got.bound and got.pairs == 0 and got.support == pytest.approx(4950 / -math.log(0.05))


def test_alike_is_calibrated() -> None:
    x = torch.randn(200, 3, dtype=torch.float64)
    limit = alike_within(x, 0.25)
    own = (x[:, None] - x).norm(dim=2).fill_diagonal_(torch.inf).min(1).values
    assert abs((own <= limit).double().mean().item() - 0.25) <= 1 / 200
    with pytest.raises(ValueError, match=r"share is 2, expected a share"):
        alike_within(x, 2)
    with pytest.raises(ValueError, match="distance is -1"):
        birthday(x, -1)
    with pytest.raises(ValueError, match="there are 1 samples"):
        birthday(x[:1], 1)
