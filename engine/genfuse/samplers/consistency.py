"""Consistency models: jump to x0, clip it, and noise it again to the next level."""

from __future__ import annotations

import numpy as np

from genfuse.samplers.begin import begun_table
from genfuse.samplers.combination import NOISE, X0, M, X
from genfuse.samplers.grid import Grid
from genfuse.samplers.prediction import Prediction
from genfuse.samplers.table import NO_CLIP, Clip, Table


def consistency(
    grid: Grid,
    *,
    sigma_min: float = 0.002,
    sigma_data: float = 0.5,
    s_noise: float = 1.0,
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """x' = f + s_noise·√(sigma'² − sigma_min²)·noise (Song et al. 2023, algorithm 1).

    grid in exploding coordinates (alpha = 1), its last node at sigma_min. f = c_skip·x + c_out·m is x itself at
    sigma_min (ibid., appendix C), c_skip = sigma_data²/((sigma − sigma_min)² + sigma_data²),
    c_out = (sigma − sigma_min)·sigma_data/√(sigma² + sigma_data²). The network sees x divided by that root.
    """
    builder = begun_table(grid, begin)
    for i in range(begin, len(grid)):
        sigma, above = grid.sigma[i], grid.sigma[i] - sigma_min
        length = float(np.hypot(sigma, sigma_data))
        f = X * (sigma_data**2 / (above**2 + sigma_data**2)) + M * (above * sigma_data / length)
        added = max(grid.sigma[i + 1] ** 2 - sigma_min**2, 0.0) ** 0.5
        y = X0 + NOISE * (s_noise * added)
        raw = Prediction(x0=f, epsilon=(X - f) / sigma)
        builder.row(grid.timesteps[i], raw, y, clip=clip, input_scale=1 / length)
    return builder.build(init_scale=float(grid.sigma[0]))
