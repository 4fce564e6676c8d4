"""Gauss-Legendre points, and sums in the order of their terms: the same bits wherever they are computed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@cache
def gauss_legendre(count: int) -> tuple[Array, Array]:
    """(points, weights), each (count,): Σ w_i·f(x_i) is the integral over [−1, 1], exact to degree 2·count − 1.

    Newton's method on the Legendre polynomial, from Tricomi's estimate of its roots.
    """
    points, weights = np.empty(count), np.empty(count)
    for i in range((count + 1) // 2):
        x = math.cos(math.pi * (i + 0.75) / (count + 0.5))
        for _ in range(10):
            value, slope = _legendre(count, x)
            x -= value / slope
        if 2 * i + 1 == count:
            x = 0.0
        _, slope = _legendre(count, x)
        weight = 2.0 / ((1.0 - x * x) * slope * slope)
        points[i], points[count - 1 - i] = -x, x
        weights[i] = weights[count - 1 - i] = weight
    points.flags.writeable = weights.flags.writeable = False
    return points, weights


def _legendre(degree: int, x: float) -> tuple[float, float]:
    """(P(x), P'(x)) by Bonnet's recursion."""
    before, value = 1.0, x
    for k in range(2, degree + 1):
        before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
    return value, degree * (x * value - before) / (x * x - 1.0)


def ordered_sum(terms: Iterable[float]) -> float:
    """One after the other: a vectorised sum, or BLAS's, adds in an order of its own."""
    total = 0.0
    for term in terms:
        total += term
    return total
