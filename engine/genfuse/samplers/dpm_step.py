"""One exponential-integrator step of the DPM-Solver family, between any two nodes of a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from genfuse.names import check_name
from genfuse.samplers import libm
from genfuse.samplers.combination import NOISE, Combination, Float
from genfuse.samplers.grid import Grid
from genfuse.samplers.phi import z_phi
from genfuse.samplers.prediction import Prediction

Algorithm = Literal["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"]
ALGORITHMS: tuple[Algorithm, ...] = ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++")
SolverType = Literal["midpoint", "heun"]
SOLVER_TYPES: tuple[SolverType, ...] = ("midpoint", "heun")

SAME_NODE = 1e-5
"""Nodes this close in lambda are one, apart by rounding to float32: no noise lies between them."""


@dataclass(frozen=True)
class DPMStep:
    """x_t = carry·x_s + Σ_k weights[k]·f⁽ᵏ⁾ + noise·z with f⁽ᵏ⁾ the k-th derivative of the prediction at s.

    Derivatives are by u, where lambda = lambda_s + u·h.
    """

    carry: float
    weights: tuple[float, float, float]
    noise: float

    def midpoint(self) -> DPMStep:
        """The same step with half the prediction's weight for the slope: what a midpoint rule gives."""
        first, _, third = self.weights
        return replace(self, weights=(first, first / 2.0, third))

    def with_sign_slip(self, alpha: Float) -> DPMStep:
        """The third-order weight as diffusers 0.42 has it for sde-dpmsolver++: −1/2 where φ3 has +1/2.

        It does not vanish with the step, and is kept apart for those who want diffusers' trajectory.
        """
        first, second, third = self.weights
        return replace(self, weights=(first, second, third - float(alpha)))

    def apply(self, start: Combination, *derivatives: Combination) -> Combination:
        """x_t from the sample at s, the prediction there, and as many of its derivatives as are known."""
        total = start * self.carry + NOISE * self.noise
        for derivative, weight in zip(derivatives, self.weights, strict=False):
            total = total + derivative * weight
        return total


def dpm_step(algorithm: Algorithm, grid: Grid, s: int, t: int) -> DPMStep:
    """From node s to t, exact where the prediction is quadratic in lambda; h = lambda_t − lambda_s:

    dpmsolver        alpha_t/alpha_s·x − sigma_t·Σ h·φ_{k+1}(h)·epsilon⁽ᵏ⁾         (Lu et al. 2022a, eq. 3.6)
    dpmsolver++      sigma_t/sigma_s·x + alpha_t·Σ h·φ_{k+1}(−h)·x0⁽ᵏ⁾             (Lu et al. 2022b, eq. 9)
    sde-dpmsolver    alpha_t/alpha_s·x − 2·sigma_t·Σ h·φ_{k+1}(h)·epsilon⁽ᵏ⁾ + sigma_t·√(e^{2h} − 1)·z
    sde-dpmsolver++  sigma_t/sigma_s·e^{−h}·x + alpha_t·Σ 2h·φ_{k+1}(−2h)·x0⁽ᵏ⁾ + sigma_t·√(1 − e^{−2h})·z
    (the last two: 2022b, section 5). A node without noise (sigma_t = 0), and for x0 one without signal
    (alpha_s = 0), are taken as limits, of the first order.
    """
    alpha_s, sigma_s, alpha_t, sigma_t = (float(v[n]) for n in (s, t) for v in (grid.alpha, grid.sigma))
    h = _interval(grid, s, t)
    stochastic = algorithm.startswith("sde")
    if stochastic and h < -SAME_NODE:
        raise ValueError(
            f"grid gains noise from node {s} to {t}, expected less and less: {algorithm} only removes it; "
            f"use {algorithm[4:]!r} to go up"
        )
    rate = 2.0 if stochastic else 1.0
    if algorithm.endswith("++"):
        first, second, third = (-alpha_t * z_phi(k, -rate * h) for k in (1, 2, 3))
        shrink = math.exp(-h) if stochastic else 1.0
        noise = sigma_t * math.sqrt(-math.expm1(-2 * max(h, 0.0))) if stochastic else 0.0
        return DPMStep(libm.quotient(sigma_t, sigma_s) * shrink, (first, second, third), noise)
    carry = alpha_t / alpha_s if alpha_s > 0 else math.inf  # epsilon has no x0 there: the table refuses it
    if math.isinf(h):
        rise = carry * sigma_s
        return DPMStep(carry, (-rate * rise, 0.0, 0.0), rise if stochastic else 0.0)
    first, second, third = (-rate * sigma_t * z_phi(k, h) for k in (1, 2, 3))
    return DPMStep(
        carry, (first, second, third), sigma_t * math.sqrt(math.expm1(2 * max(h, 0.0))) if stochastic else 0.0
    )


def _interval(grid: Grid, s: int, t: int) -> float:
    log_snr = grid.log_snr
    return float(log_snr[t] - log_snr[s])


def integrated(algorithm: Algorithm, prediction: Prediction) -> Combination:
    """What the algorithm integrates: x0 for the ++ ones, epsilon for the others."""
    return prediction.x0 if algorithm.endswith("++") else prediction.epsilon


def check_dpm_options(order: int, algorithm: str, solver_type: str, *, argument: str = "order") -> None:
    """ValueError for an order (named `argument`) that is not 1, 2 or 3, an unknown algorithm or solver type."""
    if order not in (1, 2, 3):
        raise ValueError(f"{argument} is {order!r}, expected 1, 2 or 3")
    check_name("algorithm", algorithm, ALGORITHMS)
    check_name("solver_type", solver_type, SOLVER_TYPES)
