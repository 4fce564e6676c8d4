"""Jensen-Shannon saturates where distributions do not meet, Wasserstein does not."""

from __future__ import annotations

import math

import pytest
import torch

from genfuse.systems.disjoint import estimates


def test_one_saturates_and_the_other_measures() -> None:
    torch.set_num_threads(1)
    near, far = estimates(0.5, steps=300), estimates(2.0, steps=150)
    for found in (near, far):
        assert found.jensen_shannon == pytest.approx(math.log(2), abs=0.001)
        assert abs(found.of_jensen_shannon) < 1e-3
        assert found.wasserstein == pytest.approx(found.theta, rel=0.15)
        assert found.of_wasserstein == pytest.approx(1, abs=0.15)
    assert far.wasserstein > 3 * near.wasserstein
