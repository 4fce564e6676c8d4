"""DEIS: the probability flow, integrated with a polynomial in log ρ through past noise predictions."""

from __future__ import annotations

import numpy as np

from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import HISTORY
from genfuse.samplers.exponential import exponential_weights
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.table import NO_CLIP, Clip, Table

ORDERS = (1, 2, 3, 4)


def deis(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    order: int = 2,
    lower_order_final: bool = False,
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """ρAB-DEIS with the polynomial in log ρ, ρ = sigma/alpha (Zhang & Chen 2022, eq. 15 and appendix B).

    x' = alpha'·(x/alpha + Σ_j w_j·epsilon_j), w_j = ∫ L_j(log r) dr from ρ to ρ'. As the w_j sum to ρ' − ρ,
    that is the DDIM step of the last epsilon plus alpha'·Σ w_j·(epsilon_j − epsilon): finite at both ends.

    order  1 (DDIM) to 4: outputs that the polynomial goes through; the first rows and rows after a node
           without signal have fewer, and the step to a node without noise is always DDIM
    lower_order_final  the last step is of order 1, the one before of order at most 2, and so on
    """
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}, expected one of {ORDERS}")
    builder = begun_table(grid, begin)
    steps, slots, log_snr = len(grid), max(order - 1, 1), grid.log_snr
    for i in range(begin, steps):
        alpha, sigma = grid.alpha[i + 1], grid.sigma[i + 1]
        raw = predict_at(prediction, grid, i)
        now = clipped(raw, clip, grid.alpha[i], grid.sigma[i])
        past = min(order, i - begin + 1, steps - i if lower_order_final else order) if sigma > 0 else 1
        nodes = [i] + [j for j in range(i - 1, i - past, -1) if np.isfinite(log_snr[j])]
        y = now.x0 * alpha + now.epsilon * sigma
        if len(nodes) > 1:
            weights = -sigma * exponential_weights(log_snr[nodes], log_snr[i], log_snr[i + 1], rate=-1.0)
            for j, weight in zip(nodes[1:], weights[1:], strict=True):
                y = y + weight * (HISTORY[j % slots] - now.epsilon)
        store = now.epsilon if order > 1 else None
        builder.row(grid.timesteps[i], raw, y, clip=clip, store=store, slot=i % slots)
    return builder.build()
