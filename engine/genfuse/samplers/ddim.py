"""DDIM: the deterministic step between two noise levels, with as much of DDPM's noise as eta says."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import NOISE, X0
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.signal import level, node
from genfuse.samplers.table import NO_CLIP, Clip, Table

Levels = tuple[NDArray[np.float64], NDArray[np.float64]]


def ddim(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    clip: Clip = NO_CLIP,
    eta: float = 0.0,
    use_clipped_model_output: bool = False,
    landing: Levels | None = None,
    begin: int = 0,
) -> Table:
    """x' = alpha'·x0 + √(sigma'² − s²)·epsilon + s·z (Song et al. 2021, eq. 12 and 16).

    eta      0: deterministic; 1: s is DDPM's own. ValueError outside [0, 1].
    use_clipped_model_output  epsilon is what a clipped x0 leaves of x, not what the network said
    landing  (alpha, sigma), each (n,): where each step lands; None: on the grid's next node. Steps towards
             more noise invert the process (eta must be 0).
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}, expected 0 (DDIM) to 1 (DDPM's noise)")
    builder = begun_table(grid, begin)
    alpha_next, sigma_next = landing if landing is not None else (grid.alpha[1:], grid.sigma[1:])
    for i in range(begin, len(grid)):
        raw = predict_at(prediction, grid, i)
        now = clipped(raw, clip, grid.alpha[i], grid.sigma[i]) if use_clipped_model_output else raw
        std = 0.0
        if eta > 0:
            here, there = node(grid, i), level(alpha_next[i], sigma_next[i])
            variance = there.noise / here.noise * (1 - here.signal / there.signal)
            if variance < 0:
                raise ValueError(f"eta is {eta}, expected 0: step {i} goes towards more noise")
            std = eta * math.sqrt(variance) * there.scale
        direction = math.sqrt(max(sigma_next[i] ** 2 - std**2, 0.0))
        y = X0 * alpha_next[i] + now.epsilon * direction + NOISE * std
        builder.row(grid.timesteps[i], raw, y, clip=clip)
    return builder.build()
