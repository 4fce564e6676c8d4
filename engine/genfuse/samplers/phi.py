"""The φ functions of exponential integrators."""

from __future__ import annotations

import math

from genfuse.samplers.combination import Float


def phi(k: int, z: Float) -> float:
    """φ_k(z) = ∫₀¹ e^{(1−u)z} u^{k−1}/(k−1)! du; φ_0(z) = e^z (Hochbruck & Ostermann 2010, eq. 2.10).

    φ_{k+1}(z) = (φ_k(z) − 1/k!)/z, by its Taylor series where that would cancel.
    """
    z = float(z)
    if abs(z) < 1.0:
        return math.fsum(z**n / math.factorial(n + k) for n in range(20))
    value = math.exp(z)
    for order in range(k):
        value = (value - 1.0 / math.factorial(order)) / z
    return value


def z_phi(k: int, z: Float) -> float:
    """z·φ_k(z) for k >= 1, and its limit −1/(k − 1)! at z = −inf."""
    return -1.0 / math.factorial(k - 1) if z == -math.inf else float(z) * phi(k, z)
