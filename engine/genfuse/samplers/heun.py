"""Heun's method: an Euler step, then the slope averaged with the one it arrives at. Two rows a step."""

from __future__ import annotations

from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import HISTORY
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.table import NO_CLIP, Clip, Table
from genfuse.samplers.two_calls import row_grid, step_of


def heun(grid: Grid, prediction: Predictor = "epsilon", *, clip: Clip = NO_CLIP, begin: int = 0) -> Table:
    """Algorithm 1 of Karras et al. 2022: 2n − 1 rows at times t0, t1, t1, t2, t2, ...; the last is Euler's.

    With r = sigma/alpha and slopes epsilon: the first row gives the Euler step, and stores half a step along its
    slope; to that the second adds alpha'·(r' − r)/2·epsilon'. So what it is given, should the caller have
    changed it, is where the slope is taken and not where the step starts. begin counts rows.
    """
    builder = begun_table(row_grid(grid, grid.timesteps[1:]), begin)
    for row in range(begin, 2 * len(grid) - 1):
        i, second = step_of(row, begin)
        at = i + second
        raw = predict_at(prediction, grid, at)
        now = clipped(raw, clip, grid.alpha[at], grid.sigma[at])
        if i == len(grid) - 1:
            y = now.x0 * grid.alpha[i + 1] + now.epsilon * grid.sigma[i + 1]
            builder.row(grid.timesteps[i], raw, y, clip=clip)
            continue
        # alpha'·(r' − r)/2
        half = (grid.sigma[i + 1] - grid.sigma[i] * grid.alpha[i + 1] / grid.alpha[i]) / 2
        if not second:
            y = now.x0 * grid.alpha[i + 1] + now.epsilon * grid.sigma[i + 1]
            builder.row(grid.timesteps[i], raw, y, clip=clip, store=y - now.epsilon * half)
        else:
            builder.row(grid.timesteps[at], raw, HISTORY[0] + now.epsilon * half, clip=clip)
    return builder.build()
