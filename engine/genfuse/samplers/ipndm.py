"""iPNDM: DDIM steps with the noise prediction averaged over the last four as Adams and Bashforth do."""

from __future__ import annotations

from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import HISTORY, X
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.table import NO_CLIP, Clip, Table

ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the newest to the oldest of 1 to 4 slopes at even steps (Liu et al. 2022, eq. 12)."""

SMALLEST_SIGNAL = 1e-8
"""A node without signal is taken to have this much: with averaging there is no x0 to fall back on."""


def ipndm(
    grid: Grid,
    prediction: Predictor = "v_prediction",
    *,
    order: int = 4,
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """x' = alpha'·(x − sigma·e)/alpha + sigma'·e with e the Adams-Bashforth average of the last epsilons.

    Pseudo numerical methods (Liu et al. 2022, eq. 11 and 12) without the Runge-Kutta start: the first rows
    have fewer slopes ("improved" PNDM, Zhang & Chen 2022, section 4). The weights are those of even steps in
    sigma/alpha; on other grids the order is at most 2. order 1 to 4.
    """
    if not 1 <= order <= len(ADAMS_BASHFORTH):
        raise ValueError(f"order is {order!r}, expected 1 to {len(ADAMS_BASHFORTH)}")
    builder = begun_table(grid, begin)
    slots = max(order - 1, 1)
    for i in range(begin, len(grid)):
        alpha = max(float(grid.alpha[i]), SMALLEST_SIGNAL)
        raw = predict_at(prediction, grid, i)
        now = clipped(raw, clip, grid.alpha[i], grid.sigma[i])
        newest, *older = ADAMS_BASHFORTH[min(order, i - begin + 1) - 1]
        average = now.epsilon * newest
        for back, weight in enumerate(older, start=1):
            average = average + HISTORY[(i - back) % slots] * weight
        x0 = (X - average * grid.sigma[i]) / alpha
        y = x0 * grid.alpha[i + 1] + average * grid.sigma[i + 1]
        store = now.epsilon if order > 1 else None
        builder.row(grid.timesteps[i], raw, y, clip=clip, store=store, slot=i % slots)
    return builder.build()
