"""Noise added before a step, to undo what earlier steps got wrong (Karras et al. 2022, algorithm 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from genfuse.samplers.combination import NOISE, Combination, Float, X
from genfuse.samplers.options import check_not_negative


@dataclass(frozen=True)
class Churn:
    """sigma grows where minimum <= sigma <= maximum. ValueError for a number below 0 or NaN."""

    churn: float = 0.0
    minimum: float = 0.0
    maximum: float = math.inf
    noise: float = 1.0

    def __post_init__(self) -> None:
        for name in ("churn", "minimum", "maximum", "noise"):
            check_not_negative(name, getattr(self, name))

    def raised(self, sigma: Float, steps: int) -> float:
        """sigma·(1 + gamma), gamma = min(churn/steps, √2 − 1)."""
        within = self.minimum <= sigma <= self.maximum
        return float(sigma) * (1.0 + (min(self.churn / steps, 2**0.5 - 1) if within else 0.0))

    def sample(self, sigma: Float, raised: Float) -> Combination:
        """The sample lifted from sigma to the raised level: x + noise·√(raised² − sigma²)·z."""
        return X + NOISE * (self.noise * float(raised**2 - sigma**2) ** 0.5) if raised > sigma else X


NO_CHURN = Churn()
