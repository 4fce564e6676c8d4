"""DPM-Solver++ SDE with a midpoint: two model calls a step, the second from the step's own sample."""

from __future__ import annotations

import numpy as np

from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import HISTORY, NOISE, NOISE_PREV, Combination, X
from genfuse.samplers.dpm2 import middle_signal, middle_times
from genfuse.samplers.grid import Grid
from genfuse.samplers.options import check_not_negative
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.schedule import NoiseSchedule
from genfuse.samplers.table import NO_CLIP, Clip, Table
from genfuse.samplers.two_calls import step_of


def dpmpp_sde(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    schedule: NoiseSchedule | None,
    s_noise: float = 1.0,
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """DPM-Solver++ (SDE) as k-diffusion's sample_dpmpp_sde: Lu et al. 2022b, algorithm 1, with noise.

    With r = sigma/alpha and y = x/alpha: y' = (r_down/r)·y + (1 − r_down/r)·x0 + r_up·z, where
    r_up² = r'²·(r² − r'²)/r² and r_down² = r'² − r_up², from the step's node to its midpoint √(r·r') and
    then, with the midpoint's x0, to its end. Rows: step, midpoint, step, ..; a last step to no noise has no
    midpoint and gives x0. Nodes may not be without signal.

    schedule  gives the midpoints their model times (None: the straight flow, 1000·sigma)
    s_noise   factor of the noise. Both halves of a step share a Brownian path in r, so the whole step's z is
              the first half's, weighted √((r − r_m)/(r − r')), and fresh noise for the rest
    begin     first row used, an even one: ValueError for a midpoint's, and for s_noise below 0
    """
    check_not_negative("s_noise", s_noise)
    rows = midpoint_grid(grid, schedule)
    builder = begun_table(rows, begin)
    ratio = rows.sigma / rows.alpha
    for row in range(begin, len(rows)):
        raw = predict_at(prediction, rows, row)
        x0 = clipped(raw, clip, rows.alpha[row], rows.sigma[row]).x0
        _, second = step_of(row, begin)
        s, t = (row - 1 if second else row), row + 1
        start: Combination = HISTORY[0] if second else X
        noise: Combination = NOISE
        if second:
            share = (ratio[s] - ratio[row]) / (ratio[s] - ratio[t])
            noise = NOISE_PREV * np.sqrt(share) + NOISE * np.sqrt(1.0 - share)
        down = (ratio[t] / ratio[s]) ** 2
        up = ratio[t] * np.sqrt(1.0 - down)
        y = start / rows.alpha[s] * down + x0 * (1.0 - down) + noise * (s_noise * up)
        keeps = not second and ratio[t] > 0
        builder.row(rows.timesteps[row], raw, y * rows.alpha[t], clip=clip, store=X if keeps else None)
    return builder.build()


def midpoint_grid(grid: Grid, schedule: NoiseSchedule | None) -> Grid:
    """The grid with the geometric mean of sigma/alpha put between each two nodes that have noise.

    Midpoints lie in the grid's own coordinates: exploding (alpha = 1), else variance preserving with a
    schedule and on the straight flow without one.
    """
    ratio = grid.sigma / grid.alpha
    between = np.arange(len(grid))[ratio[1:] > 0]
    middle = np.sqrt(ratio[between] * ratio[between + 1])
    alpha = middle_signal(grid, middle, schedule)
    return Grid(
        timesteps=np.insert(grid.timesteps, between + 1, middle_times(middle, schedule)),
        alpha=np.insert(grid.alpha, between + 1, alpha),
        sigma=np.insert(grid.sigma, between + 1, middle * alpha),
    )
