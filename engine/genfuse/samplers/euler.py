"""Euler's method on the probability-flow equation dx/dr = epsilon, and its ancestral form.

Both hold in any scale of the sample, with r = sigma/alpha: x/alpha is k-diffusion's sample.
"""

from __future__ import annotations

import math

import numpy as np

from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import NOISE, X0, Combination, X
from genfuse.samplers.grid import Grid
from genfuse.samplers.options import check_not_negative, check_share
from genfuse.samplers.prediction import Prediction
from genfuse.samplers.predictor import Predictor, predict_at, predict_level
from genfuse.samplers.table import NO_CLIP, Clip, Table


def euler(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    clip: Clip = NO_CLIP,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
    begin: int = 0,
) -> Table:
    """x'/alpha' = x0 + r'·epsilon: one Euler step (Karras et al. 2022, algorithm 2 without its correction).

    s_churn > 0 first raises the noise from r to r̂ = (1 + gamma)·r with gamma = min(s_churn/n, √2 − 1), where
    s_tmin <= r <= s_tmax, by s_noise·√(r̂² − r²) of fresh noise. The network has seen the sample before that,
    as in diffusers. x0, that of the raised sample where there is one, is each row's second output.
    ValueError for churn with a clip (x0 would be clipped before the noise), and for a number below 0 or NaN.
    """
    for name, value in (("s_churn", s_churn), ("s_tmin", s_tmin), ("s_tmax", s_tmax), ("s_noise", s_noise)):
        check_not_negative(name, value)
    if s_churn > 0 and clip != NO_CLIP:
        raise ValueError(
            f"s_churn is {s_churn}, expected 0 where x0 is clipped: the noise comes before the clip"
        )
    builder = begun_table(grid, begin)
    ratio = grid.sigma / grid.alpha if grid.alpha.all() else None
    for i in range(begin, len(grid)):
        raw = predict_at(prediction, grid, i)
        churned = churn(grid, i, s_churn, s_tmin, s_tmax)
        if churned and ratio is not None:
            x_hat, x0 = noised(grid, i, prediction, raw, churned, s_noise)
            keep = ratio[i + 1] / (ratio[i] * (1 + churned))
            y = (x_hat * (keep / grid.alpha[i]) + x0 * (1 - keep)) * grid.alpha[i + 1]
        else:
            x0 = X0
            now = clipped(raw, clip, grid.alpha[i], grid.sigma[i])
            y = now.x0 * grid.alpha[i + 1] + now.epsilon * grid.sigma[i + 1]
        builder.row(grid.timesteps[i], raw, y, clip=clip, store=x0, slot=-1)
    return builder.build()


def churn(grid: Grid, i: int, s_churn: float, s_tmin: float, s_tmax: float) -> float:
    """gamma of node i: by how much of itself the noise level is raised."""
    with np.errstate(divide="ignore"):
        ratio = grid.sigma[i] / grid.alpha[i]
    return min(s_churn / len(grid), math.sqrt(2) - 1) if s_tmin <= ratio <= s_tmax else 0.0


def noised(
    grid: Grid, i: int, prediction: Predictor, raw: Prediction, gamma: float, s_noise: float
) -> tuple[Combination, Combination]:
    """(x̂, x0 from x̂): the sample raised by gamma, and what its network output then means.

    epsilon and EDM's network are read at r̂, as the noise of x̂; v and x0 keep the coefficients of r.
    """
    x_hat = X + NOISE * (s_noise * grid.sigma[i] * math.sqrt((1 + gamma) ** 2 - 1))
    if callable(prediction) or prediction == "epsilon":
        raw = predict_level(prediction, grid.alpha[i], grid.sigma[i] * (1 + gamma))
    return x_hat, raw.x0.substitute(x=x_hat)


def euler_ancestral(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    clip: Clip = NO_CLIP,
    eta: float = 1.0,
    begin: int = 0,
) -> Table:
    """Euler down to r_down, then fresh noise up to r' (k-diffusion's ancestral step).

    r_up = eta·r'·√(1 − r'²/r²), r_down = √(r'² − r_up²). eta 0 is Euler; ValueError outside [0, 1].
    """
    check_share("eta", eta)
    builder = begun_table(grid, begin)
    for i in range(begin, len(grid)):
        raw = predict_at(prediction, grid, i)
        now = clipped(raw, clip, grid.alpha[i], grid.sigma[i])
        down, up = ancestral(grid, i, eta)
        y = (now.x0 + now.epsilon * down + NOISE * up) * grid.alpha[i + 1]
        builder.row(grid.timesteps[i], raw, y, clip=clip)
    return builder.build()


def ancestral(grid: Grid, i: int, eta: float = 1.0) -> tuple[float, float]:
    """(r_down, r_up) of the step from node i; exact where r is infinite (zero terminal SNR)."""
    there = float(grid.sigma[i + 1] / grid.alpha[i + 1])
    kept = float(grid.alpha[i] * there / grid.sigma[i])  # r'/r
    up = eta * there * math.sqrt(max(1 - kept**2, 0.0))
    return math.sqrt(max(there**2 - up**2, 0.0)), up
