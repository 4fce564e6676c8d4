"""Ancestral sampling: each step draws from the posterior of the forward process (Ho et al. 2020)."""

from __future__ import annotations

import math
from typing import Literal

from genfuse.names import check_name
from genfuse.samplers import libm
from genfuse.samplers.begin import begun_table
from genfuse.samplers.combination import NOISE, X0, X
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.signal import Node, node
from genfuse.samplers.table import NO_CLIP, Clip, Table

VarianceType = Literal["fixed_small", "fixed_large", "learned", "learned_range"]
VARIANCE_TYPES: tuple[VarianceType, ...] = ("fixed_small", "fixed_large", "learned", "learned_range")

SMALLEST_VARIANCE = 1e-20
"""What the log of the smaller variance is taken of where there is none."""


def ddpm(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    clip: Clip = NO_CLIP,
    variance_type: VarianceType = "fixed_small",
    final_noise: bool = False,
    begin: int = 0,
) -> Table:
    """x' = E[x' | x, x0] + √v·z (Ho et al. 2020, eq. 6 and 7), here between any two nodes.

    variance_type  "fixed_small": v = the posterior's variance; "fixed_large": v = beta; "learned": the
                   step's `variance` is log v; "learned_range": `variance` in [−1, 1] goes between the
                   logarithms of the two (Nichol & Dhariwal 2021, eq. 15)
    final_noise    add noise on the last step too, where its time is not 0
    """
    check_name("variance_type", variance_type, VARIANCE_TYPES)
    builder = begun_table(grid, begin)
    for i in range(begin, len(grid)):
        here, there = node(grid, i), node(grid, i + 1)
        beta = 1 - here.signal / there.signal
        mean = (
            X0 * libm.quotient(math.sqrt(there.signal) * beta, here.noise)
            + X
            * (libm.quotient(math.sqrt(here.signal / there.signal) * there.noise, here.noise) / here.scale)
        ) * there.scale
        noisy = grid.sigma[i + 1] > 0 or (final_noise and grid.timesteps[i] > 0)
        std, log_std = _spread(variance_type, here, there, beta)
        y = mean + NOISE * (std * there.scale) if noisy else mean
        builder.row(
            grid.timesteps[i],
            predict_at(prediction, grid, i),
            y,
            clip=clip,
            log_std=log_std if noisy else (0.0, 0.0),
        )
    return builder.build()


def _spread(
    variance_type: VarianceType, here: Node, there: Node, beta: float
) -> tuple[float, tuple[float, float]]:
    """(coefficient of the noise, exponent (a, b) of a + b·variance) in variance-preserving scale."""
    small = libm.quotient(there.noise, here.noise) * beta
    if variance_type == "fixed_small":
        return math.sqrt(small), (0.0, 0.0)
    if variance_type == "fixed_large":
        return math.sqrt(beta), (0.0, 0.0)
    if variance_type == "learned":
        return 1.0, (0.0, 0.5)
    low, high = (float(libm.log(v)) for v in (max(small, SMALLEST_VARIANCE), beta))
    return 1.0, ((high + low) / 4, (high - low) / 4)
