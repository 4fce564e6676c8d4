"""Trajectory consistency distillation: jump along the flow past the next node, then back with fresh noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import NOISE
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.schedule import NoiseSchedule
from genfuse.samplers.table import NO_CLIP, Clip, Table


def landing_times(timesteps: NDArray[np.float64], eta: float) -> NDArray[np.int64]:
    """(n − 1,) whole times s = ⌊(1 − eta)·t'⌋ that the jumps but the last land on, t' the next node's time.

    In float32 as diffusers rounds it: 0.7·10 is a whole number or just below one, and the floor tells.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}, expected 0 (deterministic) to 1 (noise at every step)")
    landing = np.floor(np.float32(1 - eta) * timesteps[1:].astype(np.float32))
    return np.asarray(landing, dtype=np.int64)


def tcd(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    schedule: NoiseSchedule | None,
    eta: float = 0.3,
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """Strategic stochastic sampling (Zheng et al. 2024, algorithm 4; eta is its gamma).

    x_s = alpha_s·x0 + sigma_s·epsilon at the landing time s <= t', then the forward process from s to t':
    x' = (alpha'/alpha_s)·x_s + √(1 − (alpha'/alpha_s)²)·noise. The last jump lands on the grid's end.
    x_s is each row's second output. schedule: what the grid was made from; ValueError without one.
    """
    if schedule is None:
        raise ValueError("schedule is None, expected the grid's NoiseSchedule: tcd lands between its nodes")
    landing = schedule.alphas_cumprod[landing_times(grid.timesteps, eta)]
    alphas = np.append(np.sqrt(landing), grid.alpha[-1])
    sigmas = np.append(np.sqrt(1 - landing), grid.sigma[-1])
    builder = begun_table(grid, begin)
    for i in range(begin, len(grid)):
        raw = predict_at(prediction, grid, i)
        now = clipped(raw, clip, grid.alpha[i], grid.sigma[i])
        x_s = now.x0 * alphas[i] + now.epsilon * sigmas[i]
        forward = grid.alpha[i + 1] / alphas[i]
        y = x_s * forward + NOISE * max(1 - forward**2, 0.0) ** 0.5
        builder.row(grid.timesteps[i], raw, y, clip=clip, store=x_s, slot=-1)
    return builder.build()
