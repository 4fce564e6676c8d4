"""Weights of the multistep methods that integrate an exponential times a polynomial through past outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genfuse.samplers import libm
from genfuse.samplers.combination import Float
from genfuse.samplers.quadrature import gauss_legendre, ordered_sum

# 32 points integrate e^{cu}·u³ over [−1, 1] to rounding for every |c| that two neighbouring nodes can have,
# and lose no digits to cancellation on short steps, where the closed form divides by c⁴.
_POINTS, _WEIGHTS = gauss_legendre(32)


def exponential_weights(
    nodes: NDArray[np.float64], start: Float, end: Float, rate: Float
) -> NDArray[np.float64]:
    """w_j = ∫_start^end e^{rate·(λ − end)}·L_j(λ) dλ, with L_j the Lagrange polynomials of `nodes`.

    nodes (k,) distinct values of λ = log(alpha/sigma) → (k,) float64. One node may have an infinite interval
    (its polynomial is 1). With rate −1 these are the DEIS coefficients in log ρ (Zhang & Chen 2022, eq. 15);
    with rate 1 + τ² the b_j of SA-Solver (Xue et al. 2023, eq. 14), both without their factor.
    """
    length = np.float64(end) - np.float64(start)
    if len(nodes) == 1:
        return np.array([-libm.expm1(-rate * length) / rate])
    points = start + length * (_POINTS + 1.0) / 2.0
    density = libm.exp(rate * (points - end)) * _WEIGHTS * length / 2.0
    return np.array([ordered_sum(density * _lagrange(nodes, j, points)) for j in range(len(nodes))])


def _lagrange(nodes: NDArray[np.float64], j: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    others = np.delete(nodes, j)
    factors = [(points - other) / (nodes[j] - other) for other in others]
    return np.asarray(np.prod(factors, axis=0))
