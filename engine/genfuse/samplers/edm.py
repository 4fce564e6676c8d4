"""Euler's method as EDM runs it: in sigma, with noise churned in before a step (Karras et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genfuse.samplers.begin import begun_table
from genfuse.samplers.combination import NOISE, Combination, Float, X
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor, edm_predictor, predict_at
from genfuse.samplers.table import Table


@dataclass(frozen=True)
class Churn:
    """Noise added before a step (ibid., algorithm 2): sigma grows where minimum <= sigma <= maximum."""

    churn: float = 0.0
    minimum: float = 0.0
    maximum: float = float("inf")
    noise: float = 1.0

    def raised(self, sigma: Float, steps: int) -> float:
        """sigma·(1 + gamma), gamma = min(churn/steps, √2 − 1)."""
        within = self.minimum <= sigma <= self.maximum
        return float(sigma) * (1.0 + (min(self.churn / steps, 2**0.5 - 1) if within else 0.0))

    def sample(self, sigma: Float, raised: Float) -> Combination:
        """The sample lifted from sigma to the raised level: x + noise·√(raised² − sigma²)·z."""
        return X + NOISE * (self.noise * float(raised**2 - sigma**2) ** 0.5) if raised > sigma else X


NO_CHURN = Churn()


def edm_euler(
    grid: Grid,
    prediction: Predictor | None = None,
    *,
    sigma_data: float = 0.5,
    churn: Churn = NO_CHURN,
    begin: int = 0,
) -> Table:
    """Euler steps of the probability flow in sigma (ibid., algorithm 2 without its second-order correction).

    grid in exploding coordinates (alpha = 1). x̂ = x + churned noise, D = x0 at (x̂, σ̂), and
    x' = x̂ + (sigma' − σ̂)·(x̂ − D)/σ̂. The network is run at sigma, before the noise, on c_in·x with
    c_in = 1/√(sigma² + sigma_data²). D is each row's second output.
    prediction  None: the preconditioned network of `edm_predictor(sigma_data)`
    """
    predictor = edm_predictor(sigma_data) if prediction is None else prediction
    builder = begun_table(grid, begin)
    for i in range(begin, len(grid)):
        sigma = grid.sigma[i]
        raised = churn.raised(sigma, len(grid))
        lifted = Grid(timesteps=grid.timesteps[i : i + 1], alpha=np.ones(1), sigma=np.array([raised]))
        raw = predict_at(predictor, lifted, 0)
        x = churn.sample(sigma, raised)
        denoised = raw.x0.substitute(x=x)
        y = x + (x - denoised) * ((grid.sigma[i + 1] - raised) / raised)
        scale = 1.0 / float(np.hypot(sigma, sigma_data))
        builder.row(grid.timesteps[i], raw, y, store=denoised, slot=-1, input_scale=scale)
    return builder.build(init_scale=float(np.hypot(grid.sigma[0], 1.0)))
