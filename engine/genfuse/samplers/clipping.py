"""The two predictions of a step once x0 has been clipped: epsilon is what then remains of the sample."""

from __future__ import annotations

import math

from genfuse.samplers.combination import X0, Float, X
from genfuse.samplers.prediction import Prediction
from genfuse.samplers.table import Clip


def clips(clip: Clip) -> bool:
    """Whether it changes any x0."""
    return clip.quantile > 0 or clip.minimum > -math.inf or clip.maximum < math.inf


def clipped(prediction: Prediction, clip: Clip, alpha: Float, sigma: Float) -> Prediction:
    """x0 = the row's clipped x0, epsilon = (x − alpha·x0)/sigma; `prediction` itself where nothing clips."""
    if not clips(clip):
        return prediction
    return Prediction(x0=X0, epsilon=(X - X0 * alpha) / sigma)
