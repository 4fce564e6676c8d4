"""How a solver is told what the network predicts: a prediction type, or a function of alpha and sigma."""

from __future__ import annotations

from collections.abc import Callable

from genfuse.names import check_name
from genfuse.samplers.combination import Float, M, X
from genfuse.samplers.grid import Grid
from genfuse.samplers.prediction import PREDICTION_TYPES, Prediction, PredictionType, predict

Predictor = PredictionType | Callable[[Float, Float], Prediction]


def predict_at(predictor: Predictor, grid: Grid, node: int) -> Prediction:
    """x0 and epsilon at a node of the grid. ValueError for an unknown prediction type."""
    return predict_level(predictor, grid.alpha[node], grid.sigma[node])


def predict_level(predictor: Predictor, alpha: Float, sigma: Float) -> Prediction:
    """x0 and epsilon at a level. ValueError for an unknown prediction type."""
    if callable(predictor):
        return predictor(alpha, sigma)
    check_name("prediction", predictor, PREDICTION_TYPES)
    return predict(predictor, alpha, sigma)


def edm_predictor(sigma_data: float, *, v_prediction: bool = False) -> Callable[[Float, Float], Prediction]:
    """x0 = c_skip·x + c_out·m on a grid with alpha = 1 (Karras et al. 2022, eq. 7 and table 1).

    c_skip = s²/(sigma² + s²), c_out = sigma·s/√(sigma² + s²) with s = sigma_data; v prediction has −c_out.
    """
    sign = -1.0 if v_prediction else 1.0

    def prediction(alpha: Float, sigma: Float) -> Prediction:
        variance = sigma**2 + sigma_data**2
        x0 = X * (sigma_data**2 / variance) + M * (sign * sigma * sigma_data / variance**0.5)
        return Prediction(x0=x0, epsilon=(X - x0 * alpha) / sigma)

    return prediction
