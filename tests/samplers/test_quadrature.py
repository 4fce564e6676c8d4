"""Quadrature and the functions over arrays that tables are built with, against numpy's and scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from genfuse.samplers import libm
from genfuse.samplers.quadrature import gauss_legendre, ordered_sum
from genfuse.samplers.sigmas import _log_gamma


@pytest.mark.parametrize("count", [1, 2, 3, 5, 32])
def test_gauss_legendre(count: int) -> None:
    points, weights = gauss_legendre(count)
    expected_points, expected_weights = np.polynomial.legendre.leggauss(count)
    assert np.abs(points - expected_points).max() < 4e-16
    assert np.abs(weights - expected_weights).max() < 4e-15
    degree = 2 * count - 2
    assert ordered_sum(weights * points**degree) == pytest.approx(2 / (degree + 1), rel=1e-14)


def test_functions_at_their_ends() -> None:
    assert libm.log([0.0, 1.0, np.e]).tolist() == [-math.inf, 0.0, 1.0]
    assert math.isnan(libm.log([-1.0])[0])
    assert libm.exp([[0.0, 1000.0], [-1000.0, 1.0]]).tolist() == [[1.0, math.inf], [0.0, math.e]]
    assert libm.expm1(1000.0) == math.inf
    assert libm.power([4.0], 0.5).tolist() == [2.0]


def test_log_gamma() -> None:
    for x in (0.05, 0.6, 1.0, 1.2, 2.0, 7.5, 16.0, 40.0):
        assert _log_gamma(x) == pytest.approx(math.lgamma(x), rel=1e-13, abs=2e-14)
