"""Linear combinations of a step's terms, so that a solver's code reads like its paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genfuse_kernels.sampler_step.row import HISTORY_SLOTS, TERMS

Float = float | np.floating


@dataclass(frozen=True, eq=False)
class Combination:
    """Σ coefficient·term over `row.TERMS`, in float64; +, −, and · and / by a number."""

    coefficients: NDArray[np.float64]

    def __add__(self, other: Combination) -> Combination:
        return Combination(self.coefficients + other.coefficients)

    def __sub__(self, other: Combination) -> Combination:
        return Combination(self.coefficients - other.coefficients)

    def __neg__(self) -> Combination:
        return Combination(-self.coefficients)

    def __mul__(self, factor: Float) -> Combination:
        return Combination(self.coefficients * float(factor))

    __rmul__ = __mul__

    def __truediv__(self, divisor: Float) -> Combination:
        return Combination(self.coefficients / float(divisor))

    def substitute(self, **terms: Combination) -> Combination:
        """The same combination with each named term written in others: `y.substitute(h0=(x - b * m) / a)`."""
        total = Combination(self.coefficients.copy())
        for name, value in terms.items():
            position = TERMS.index(name)
            coefficient = total.coefficients[position]
            total.coefficients[position] = 0.0
            total = total + coefficient * value
        return total


def term(name: str) -> Combination:
    """The term itself: one of `row.TERMS`."""
    return Combination(np.eye(len(TERMS))[TERMS.index(name)])


ZERO = Combination(np.zeros(len(TERMS)))
X, M, X0, NOISE, NOISE_PREV = (term(name) for name in ("x", "m", "x0", "noise", "noise_prev"))
HISTORY = tuple(term(f"h{slot}") for slot in range(HISTORY_SLOTS))
