"""LMS: the slopes of the last steps, interpolated by a polynomial in sigma and integrated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import HISTORY, X
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.quadrature import gauss_legendre, ordered_sum
from genfuse.samplers.table import NO_CLIP, Clip, Table

Array = NDArray[np.float64]
HIGHEST_ORDER = 5
"""The current slope and four stored ones."""


def lms(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    order: int = 4,
    clip: Clip = NO_CLIP,
    begin: int = 0,
    truncated: bool = False,
) -> Table:
    """x'/alpha' = x/alpha + Σ_j c_j·epsilon_j: Adams-Bashforth on uneven nodes (k-diffusion's sample_lms).

    c_j integrates the Lagrange polynomial of node j from r to r', r = sigma/alpha. The first rows have fewer
    slopes. order 1 to 5.

    truncated   from a begin in the middle, weigh the slopes that there are as if the nodes before it had theirs
                (diffusers), instead of by the polynomial through them alone
    """
    if not 1 <= order <= HIGHEST_ORDER:
        raise ValueError(f"order is {order!r}, expected 1 to {HIGHEST_ORDER}")
    builder = begun_table(grid, begin)
    slots = max(order - 1, 1)
    ratio = grid.sigma / grid.alpha
    for i in range(begin, len(grid)):
        raw = predict_at(prediction, grid, i)
        now = clipped(raw, clip, grid.alpha[i], grid.sigma[i])
        used = min(order, i - begin + 1)
        nodes = min(order, i + 1) if truncated else used
        weights = lagrange_integrals(ratio[i - nodes + 1 : i + 1][::-1], ratio[i], ratio[i + 1])
        newest, *older = weights[:used]
        total = X / grid.alpha[i] + now.epsilon * newest
        for back, weight in enumerate(older, start=1):
            total = total + HISTORY[(i - back) % slots] * weight
        store = now.epsilon if order > 1 else None
        builder.row(grid.timesteps[i], raw, total * grid.alpha[i + 1], clip=clip, store=store, slot=i % slots)
    return builder.build()


def lagrange_integrals(nodes: Array, start: float, stop: float) -> Array:
    """(k,) integrals from start to stop of the polynomials that are 1 at one of k nodes and 0 at the others.

    Gauss-Legendre with k points, exact to degree 2k − 1.
    """
    points, weights = gauss_legendre(len(nodes))
    points = (stop - start) / 2 * points + (stop + start) / 2
    values = np.ones((len(nodes), len(points)))
    for j, own in enumerate(nodes):
        for other in np.delete(nodes, j):
            values[j] *= (points - other) / (own - other)
    return np.array([ordered_sum(value * weights) * ((stop - start) / 2) for value in values])
