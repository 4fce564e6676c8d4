"""DPM2: the midpoint method in log sigma, and its ancestral form. Two rows a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import HISTORY, NOISE, X
from genfuse.samplers.euler import ancestral
from genfuse.samplers.grid import Grid
from genfuse.samplers.prediction import PredictionType, predict
from genfuse.samplers.schedule import NoiseSchedule
from genfuse.samplers.sigmas import sigma_to_t
from genfuse.samplers.table import NO_CLIP, Clip, Table
from genfuse.samplers.two_calls import row_grid, step_of

Array = NDArray[np.float64]


def dpm2(
    grid: Grid,
    prediction: PredictionType = "epsilon",
    *,
    schedule: NoiseSchedule | None,
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """Half a step to the geometric mean of r and r', then the whole step with the slope found there.

    2n − 1 rows, the last step Euler's; schedule gives the middle nodes their times (None: the straight flow,
    1000·sigma). Algorithm 2 of Karras et al. 2022 as k-diffusion's sample_dpm_2, r = sigma/alpha. The first row
    stores the sample, from which the second starts: should the caller have changed what it is given, that
    is where the slope is taken and nothing else.
    """
    return _dpm2(grid, prediction, schedule, clip, begin, is_ancestral=False)


def dpm2_ancestral(
    grid: Grid,
    prediction: PredictionType = "epsilon",
    *,
    schedule: NoiseSchedule | None,
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """`dpm2` down to r_down of Euler ancestral, then its fresh noise up to r'."""
    return _dpm2(grid, prediction, schedule, clip, begin, is_ancestral=True)


def _dpm2(
    grid: Grid,
    prediction: PredictionType,
    schedule: NoiseSchedule | None,
    clip: Clip,
    begin: int,
    *,
    is_ancestral: bool,
) -> Table:
    middles = middle_ratios(grid, is_ancestral=is_ancestral)
    middle_alphas = middle_signal(grid, middles, schedule)
    times = middle_times(middles, schedule)
    builder = begun_table(row_grid(grid, times), begin)
    for row in range(begin, 2 * len(grid) - 1):
        i, second = step_of(row, begin)
        alpha, ratio = grid.alpha[i], grid.sigma[i] / grid.alpha[i]
        if not second:
            raw = predict(prediction, alpha, grid.sigma[i])
            now = clipped(raw, clip, alpha, grid.sigma[i])
            last = i == len(grid) - 1
            y = now.x0 * grid.alpha[i + 1] + now.epsilon * grid.sigma[i + 1]
            if not last:
                y = (X / alpha + now.epsilon * (middles[i] - ratio)) * middle_alphas[i]
            builder.row(grid.timesteps[i], raw, y, clip=clip, store=None if last else X)
            continue
        alpha = middle_alphas[i]
        raw = predict(prediction, alpha, alpha * middles[i])
        now = clipped(raw, clip, alpha, alpha * middles[i])
        start = HISTORY[0] / grid.alpha[i]
        down, up = ancestral(grid, i) if is_ancestral else (grid.sigma[i + 1] / grid.alpha[i + 1], 0.0)
        y = (start + now.epsilon * (down - ratio) + NOISE * up) * grid.alpha[i + 1]
        builder.row(times[i], raw, y, clip=clip)
    return builder.build()


def middle_ratios(grid: Grid, *, is_ancestral: bool) -> Array:
    """(n − 1,) geometric mean of r and of what the first n − 1 steps go down to."""
    ratio = grid.sigma / grid.alpha
    down = [ancestral(grid, i)[0] for i in range(len(grid) - 1)] if is_ancestral else ratio[1:-1]
    middles: Array = np.sqrt(ratio[:-2] * np.asarray(down))
    return middles


def middle_signal(grid: Grid, ratios: Array, schedule: NoiseSchedule | None) -> Array:
    """alpha of nodes at noise-to-signal levels (k,), in the grid's own coordinates.

    Exploding (alpha = 1), else variance preserving with a schedule and on the straight flow without one.
    """
    if (grid.alpha == 1).all():
        return np.ones_like(ratios)
    return np.asarray(1 / (1 + ratios) if schedule is None else 1 / np.hypot(1, ratios))


def middle_times(ratios: Array, schedule: NoiseSchedule | None) -> Array:
    """The model's times at noise-to-signal levels (k,)."""
    if schedule is None:
        return np.asarray(1000 * ratios / (1 + ratios))
    return sigma_to_t(ratios, schedule.log_sigmas)
