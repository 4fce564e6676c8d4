"""Mean and covariance of features that come in batches."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse.evaluate.features import check_features
from genfuse.evaluate.stream import Stream


class Moments(Stream):
    """Number, mean and covariance of all features seen, in float64 and D² of memory, however many they are.

    Batches and other statistics are merged by Chan, Golub and LeVeque 1983 (eq. 1.5): differences of means, where sums
    of squares less squares of sums would cancel.

    Args:
        features: D.

    Attributes:
        count: of samples.
        mean: (D,) float64.
        scatter: (D, D) float64, Σ (x − mean)(x − mean)ᵀ.
    """

    def __init__(self, features: int) -> None:
        self.count = 0
        self.mean = torch.zeros(features, dtype=torch.float64)
        self.scatter = torch.zeros(features, features, dtype=torch.float64)

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Those of (N, D) features. Errors as :meth:`update`."""
        moments = cls(check_features("features", features).shape[1])
        moments.update(features)
        return moments

    def update(self, features: Tensor) -> None:
        """Take in (N, D), floating, N 0 or more.

        Raises:
            ValueError: another shape, or a feature is not finite; nothing is taken in.
            TypeError: no floating tensor.
        """
        x = check_features("features", features, width=len(self.mean)).double().cpu()
        if len(x):
            mean = x.mean(0)
            self._add(len(x), mean, (x - mean).mT @ (x - mean))

    def merge(self, other: Moments) -> None:
        """ValueError where ``other`` has another number of features."""
        if other.mean.shape != self.mean.shape:
            raise ValueError(f"other has {len(other.mean)} features a sample, expected {len(self.mean)}")
        if other.count:
            self._add(other.count, other.mean, other.scatter)

    def _add(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        apart, total = mean - self.mean, self.count + count
        self.scatter = self.scatter + scatter + apart.outer(apart) * (self.count * count / total)
        self.mean = self.mean + apart * (count / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """(D, D) float64 with the divisor N − 1. ValueError below two samples."""
        if self.count < 2:
            raise ValueError(f"there are {self.count} samples, expected at least 2 for a covariance")
        return self.scatter / (self.count - 1)

    def state(self) -> dict[str, Tensor]:
        return {"count": torch.tensor(self.count), "mean": self.mean, "scatter": self.scatter}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Moments:
        moments = cls(len(state["mean"]))
        if state["scatter"].shape != moments.scatter.shape:
            raise ValueError(f"scatter has shape {tuple(state['scatter'].shape)}")
        moments.count = int(state["count"])
        moments.mean, moments.scatter = state["mean"].double(), state["scatter"].double()
        return moments
