"""What a network predicts, as x0 and noise linear in the sample and its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from genfuse.samplers.combination import Combination, Float, M, X

PredictionType = Literal["epsilon", "v_prediction", "sample", "flow_prediction"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction", "sample", "flow_prediction")


@dataclass(frozen=True, eq=False)
class Prediction:
    """x0 and epsilon of one node, both combinations of x and m alone (before any clipping)."""

    x0: Combination
    epsilon: Combination


def predict(kind: PredictionType, alpha: Float, sigma: Float) -> Prediction:
    """x0 and epsilon where x = alpha·x0 + sigma·epsilon, in whatever scale alpha and sigma are.

    The network sees the variance-preserving sample, so v is of alpha/ρ and sigma/ρ with ρ² = alpha² + sigma²
    (Salimans & Ho 2022); flow is of alpha/(alpha + sigma) (Lipman et al. 2023). At alpha = 0 epsilon has no
    x0 and the coefficients are infinite: the table refuses them.
    """
    a, s = np.float64(alpha), np.float64(sigma)
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "epsilon":
            return Prediction(x0=X / a - M * (s / a), epsilon=M)
        if kind == "v_prediction":
            rho = np.hypot(a, s)
            return Prediction(x0=X * (a / rho**2) - M * (s / rho), epsilon=X * (s / rho**2) + M * (a / rho))
        if kind == "sample":
            return Prediction(x0=M, epsilon=(X - M * a) / s)
        rho = a + s
        return Prediction(x0=(X - M * s) / rho, epsilon=(X + M * a) / rho)
