"""Linear combinations of a step's terms."""

from __future__ import annotations

import numpy as np

from genfuse.samplers.combination import HISTORY, NOISE, X0, ZERO, Combination, M, X, term
from genfuse_kernels.sampler_step.row import TERMS


def value(combination: Combination, **terms: float) -> float:
    """The combination where each term is a number."""
    return float(
        sum(c * terms.get(name, 0.0) for name, c in zip(TERMS, combination.coefficients, strict=True))
    )


def test_arithmetic_is_that_of_the_values() -> None:
    numbers = {"x": 2.0, "m": -3.0, "x0": 5.0, "h1": 7.0, "noise": 11.0}
    y = (X * 2 - M / 4 + 3 * X0) - (-HISTORY[1]) + np.float64(0.5) * NOISE + ZERO
    assert value(y, **numbers) == 2 * 2 + 3 / 4 + 15 + 7 + 5.5
    assert (X * np.float32(0.5)).coefficients.dtype == np.float64


def test_every_term_is_its_own_unit() -> None:
    assert np.array_equal(np.stack([term(name).coefficients for name in TERMS]), np.eye(len(TERMS)))
    assert not ZERO.coefficients.any()


def test_substitute_writes_a_term_in_others() -> None:
    y = X * 2 + HISTORY[0] * 3 + M
    assert value(y.substitute(h0=(X - M * 4) / 2), x=1.0, m=10.0) == 2 + 3 * (1 - 40) / 2 + 10
    # the value's own coefficient of the term stays: h0 → h0 + x
    assert value(y.substitute(h0=HISTORY[0] + X), x=1.0, h0=100.0) == 2 + 300 + 3
    assert value(y, x=1.0, h0=100.0) == 302


def test_operations_leave_their_operands_alone() -> None:
    before = X.coefficients.copy()
    _ = X + M, -X, X * 3, X.substitute(x=M * 2)
    assert np.array_equal(X.coefficients, before)
