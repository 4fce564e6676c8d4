"""Flow matching: x = (1 − sigma)·x0 + sigma·noise, its velocity noise − x0, and three ways along it."""

from __future__ import annotations

import numpy as np

from genfuse.samplers.begin import begun_table
from genfuse.samplers.churn import NO_CHURN, Churn
from genfuse.samplers.clipping import clipped, clips
from genfuse.samplers.combination import HISTORY, NOISE, X0, X
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.table import NO_CLIP, Clip, Table


def flow_euler(
    grid: Grid, prediction: Predictor = "flow_prediction", *, clip: Clip = NO_CLIP, begin: int = 0
) -> Table:
    """x' = x + (sigma' − sigma)·(epsilon − x0) (Esser et al. 2024, eq. 1), alpha = 1 − sigma."""
    builder = begun_table(grid, begin)
    for i in range(begin, len(grid)):
        raw = predict_at(prediction, grid, i)
        now = clipped(raw, clip, grid.alpha[i], grid.sigma[i])
        y = X + (now.epsilon - now.x0) * (grid.sigma[i + 1] - grid.sigma[i])
        builder.row(grid.timesteps[i], raw, y, clip=clip)
    return builder.build()


def flow_stochastic(
    grid: Grid, prediction: Predictor = "flow_prediction", *, clip: Clip = NO_CLIP, begin: int = 0
) -> Table:
    """x' = (1 − sigma')·x0 + sigma'·fresh noise: consistency sampling on the flow (Song et al. 2023)."""
    builder = begun_table(grid, begin)
    for i in range(begin, len(grid)):
        y = X0 * grid.alpha[i + 1] + NOISE * grid.sigma[i + 1]
        builder.row(grid.timesteps[i], predict_at(prediction, grid, i), y, clip=clip)
    return builder.build()


def flow_heun(
    grid: Grid,
    prediction: Predictor = "flow_prediction",
    *,
    churn: Churn = NO_CHURN,
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """Heun's method in sigma: an Euler step, then the same step with the slopes of both ends averaged.

    Two rows a step, one for the last: 2n − 1, at the times of nodes 0, 1, 1, 2, 2, ... The first row stores half
    a step along its slope, to which the second adds (sigma' − σ̂)/2·slope', whatever has become of its sample.
    begin   counts rows, and is even: an odd row is the second half of a step
    churn   as `euler`'s; the first slope is then velocity·sigma/σ̂ (as diffusers scales it), clip refused
    """
    if begin % 2:
        raise ValueError(f"begin is {begin}, expected an even row: odd ones are second halves of a step")
    if clips(clip) and churn.churn > 0:
        raise ValueError("clip and churn are both given, expected one: a clipped x0 cannot see churned noise")
    rows = 2 * len(grid) - 1
    builder = begun_table(heun_rows(grid), begin)
    for row in range(begin, rows):
        node = (row + 1) // 2
        raw = predict_at(prediction, grid, node)
        now = clipped(raw, clip, grid.alpha[node], grid.sigma[node])
        slope = now.epsilon - now.x0
        if row % 2 == 0:
            sigma = grid.sigma[node]
            raised = churn.raised(sigma, rows)
            x, step = churn.sample(sigma, raised), grid.sigma[node + 1] - raised
            slope = slope.substitute(x=x) * (sigma / raised)
            half = None if row == rows - 1 else x + slope * (step / 2)
            builder.row(grid.timesteps[node], raw, x + slope * step, clip=clip, store=half)
        else:
            builder.row(grid.timesteps[node], raw, HISTORY[0] + slope * (step / 2), clip=clip)
    return builder.build()


def heun_rows(grid: Grid) -> Grid:
    """The node of each of `flow_heun`'s rows, and the grid's last."""
    nodes = (np.arange(2 * len(grid) - 1) + 1) // 2
    ends = np.append(nodes, len(grid))
    return Grid(timesteps=grid.timesteps[nodes], alpha=grid.alpha[ends], sigma=grid.sigma[ends])
