"""Noise levels to step over: sequences of sigma between two ends, and where they lie in training time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genfuse.names import check_name
from genfuse.samplers import libm

Array = NDArray[np.float64]
Levels = TypeVar("Levels", NDArray[np.floating], Tensor)


def karras(sigma_min: float, sigma_max: float, steps: int, rho: float = 7.0) -> Array:
    """(steps,) from sigma_max down to sigma_min, evenly spaced in sigma^(1/rho) (Karras et al. 2022).

    Their equation 5.
    """
    ramp = np.linspace(0, 1, steps)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return libm.power(high + ramp * (low - high), rho)


def exponential(sigma_min: float, sigma_max: float, steps: int) -> Array:
    """(steps,) from sigma_max down to sigma_min, evenly spaced in log sigma."""
    return libm.exp(np.linspace(math.log(sigma_max), math.log(sigma_min), steps))


def beta(sigma_min: float, sigma_max: float, steps: int, alpha: float = 0.6, beta: float = 0.6) -> Array:
    """(steps,) from sigma_max down to sigma_min at quantiles of a beta distribution (Lee et al. 2024)."""
    quantiles = [beta_quantile(p, alpha, beta) for p in 1 - np.linspace(0, 1, steps)]
    return np.asarray(sigma_min + np.array(quantiles) * (sigma_max - sigma_min))


SIGMAS: dict[str, Callable[[float, float, int], Array]] = {
    "karras": karras,
    "exponential": exponential,
    "beta": beta,
    "lu": exponential,  # Lu et al. 2022: even in lambda = −log sigma, over the whole schedule
}


def spaced_sigmas(kind: str, sigma_min: float, sigma_max: float, steps: int) -> Array:
    """(steps,) descending sigmas of a kind in `SIGMAS`. ValueError: unknown kind, ends out of order."""
    check_name("sigmas", kind, SIGMAS)
    if sigma_max == math.inf:
        raise ValueError(
            f"sigma_max is inf, expected a finite one: {kind!r} sigmas need a schedule without zero terminal SNR, "
            "or with_finite_sigmas()"
        )
    if not 0 < sigma_min <= sigma_max:
        raise ValueError(
            f"sigma_min is {sigma_min} and sigma_max is {sigma_max}, expected 0 < sigma_min <= sigma_max; where "
            "one is not set it is the schedule's at an end of the timesteps"
        )
    return SIGMAS[kind](sigma_min, sigma_max, steps)


def flow_shift(sigmas: Array, shift: float) -> Array:
    """shift·sigma / (1 + (shift − 1)·sigma): towards the noise (Esser et al. 2024, eq. 23)."""
    return np.asarray(shift * sigmas / (1 + (shift - 1) * sigmas))


def stretched(levels: Levels, terminal: float) -> Levels:
    """Flow's levels (n,) stretched from 1 down so that the last is `terminal`. ValueError where that is 1 now."""
    data = 1 - levels
    if not data[-1] > 0:
        raise ValueError(
            f"shift_terminal is {terminal}, but the last of {len(levels)} levels is {float(levels[-1]):g}, expected "
            "one below 1: take more steps, or None"
        )
    result: Levels = 1 - data / (data[-1] / (1 - terminal))
    return result


def sigma_to_t(sigmas: Array, log_sigmas: Array) -> Array:
    """Training times of sigmas: log sigma interpolated linearly in the schedule `log_sigmas` (T,).

    Sigmas outside the schedule get its first or last timestep. Same shape as `sigmas`. A schedule ascends, but
    for a zero terminal SNR that was made finite: its last level may lie below the one before, so the last
    level that a sigma reaches counts, as in diffusers.
    """
    log_sigma = libm.log(np.maximum(sigmas, 1e-10))
    reached = np.less_equal.outer(log_sigmas, log_sigma)
    low = reached.cumsum(axis=0).argmax(axis=0).clip(0, len(log_sigmas) - 2)
    weight = (log_sigmas[low] - log_sigma) / (log_sigmas[low] - log_sigmas[low + 1])
    weight = np.clip(weight, 0, 1)
    return np.asarray((1 - weight) * low + weight * (low + 1))


def beta_quantile(p: float, a: float, b: float) -> float:
    """x in [0, 1] where the beta(a, b) distribution function is p; to 1e-13 of min(x, 1 − x)."""
    if p <= 0 or p >= 1:
        return float(p >= 1)
    return _lower_quantile(p, a, b) if p <= _beta_cdf(0.5, a, b) else 1 - _lower_quantile(1 - p, b, a)


def _lower_quantile(p: float, a: float, b: float) -> float:
    """The quantile where it is at most 1/2: Newton in log x, where the function is nearly straight."""
    log_norm = _log_gamma(a) + _log_gamma(b) - _log_gamma(a + b)
    x = min(0.5, math.exp((math.log(p * a) + log_norm) / a))
    for _ in range(50):
        density = math.exp((a - 1) * math.log(x) + (b - 1) * math.log1p(-x) - log_norm)
        step = (_beta_cdf(x, a, b) - p) / (x * density)
        x = min(0.5, x * math.exp(-step))
        if abs(step) < 1e-15:
            break
    return x


def _beta_cdf(x: float, a: float, b: float) -> float:
    """The distribution function for x <= 1/2: x^a/(a·B(a, b)) · ₂F₁(a, 1 − b; a + 1; x), a series in x."""
    log_norm = _log_gamma(a) + _log_gamma(b) - _log_gamma(a + b)
    total, term = 1 / a, 1.0
    for n in range(1, 80):
        term *= x * (n - b) / n
        total += term / (a + n)
    return math.exp(a * math.log(x) - log_norm) * total


def _log_gamma(x: float) -> float:
    """log Γ(x), x > 0: Stirling's series from 16 on, Γ(x) = Γ(x + 1)/x below. Python's own is not libm's."""
    below = 1.0
    while x < 16.0:
        below *= x
        x += 1.0
    series = 0.0
    for coefficient in (1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12):
        series = series / (x * x) + coefficient
    return (x - 0.5) * math.log(x) - x + math.log(2.0 * math.pi) / 2.0 + series / x - math.log(below)
