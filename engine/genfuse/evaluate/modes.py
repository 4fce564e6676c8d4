"""Modes that collapse and modes that are dropped, by counts of what samples fall into."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genfuse.evaluate.stream import Stream


class Counts(Stream):
    """How many samples fell into each of ``bins``: the classes of a classifier, or the nearest of the real pictures.

    Attributes:
        counts: (bins,) int64.
    """

    def __init__(self, bins: int) -> None:
        if bins < 1:
            raise ValueError(f"bins is {bins}, expected 1 or more")
        self.counts = torch.zeros(bins, dtype=torch.int64)

    def update(self, which: Tensor) -> None:
        """Count (N,) int64 in [0, bins). ValueError for one outside; TypeError for another dtype."""
        if not isinstance(which, Tensor) or which.dtype != torch.int64:
            got = which.dtype if isinstance(which, Tensor) else type(which).__name__
            raise TypeError(f"which is {got}, expected a tensor (N,) of int64")
        if which.ndim != 1 or (len(which) and not 0 <= which.min() <= which.max() < len(self.counts)):
            raise ValueError(
                f"which has shape {tuple(which.shape)} and values outside, expected (N,) in [0, {len(self.counts)})"
            )
        self.counts = self.counts + torch.bincount(which.cpu(), minlength=len(self.counts))

    def merge(self, other: Counts) -> None:
        """ValueError where ``other`` has another number of bins."""
        if len(other.counts) != len(self.counts):
            raise ValueError(f"other has {len(other.counts)} bins, expected {len(self.counts)}")
        self.counts = self.counts + other.counts

    @property
    def hit(self) -> int:
        """Bins that are not empty; the others are dropped."""
        return int((self.counts > 0).sum())

    @property
    def largest_share(self) -> float:
        """Of all samples, those in the fullest bin: 1 where everything has collapsed to it; NaN of no samples."""
        return float(self.counts.max()) / total if (total := int(self.counts.sum())) else math.nan

    @property
    def effective(self) -> float:
        """exp of the entropy: as many equally full bins would be as even. 0 of no samples."""
        if not (total := int(self.counts.sum())):
            return 0.0
        shares = self.counts.double() / total
        return float(torch.special.entr(shares).sum().exp())

    def total_variation(self, other: Counts) -> float:
        """½ Σ |p − q| of the shares: what share of the samples lies in other bins than ``other``'s; NaN of none."""
        if len(other.counts) != len(self.counts):
            raise ValueError(f"other has {len(other.counts)} bins, expected {len(self.counts)}")
        p, q = (of.counts.double() / of.counts.sum() for of in (self, other))
        return (p - q).abs().sum().item() / 2

    def state(self) -> dict[str, Tensor]:
        return {"counts": self.counts}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Counts:
        counts = cls(len(state["counts"]))
        counts.counts = state["counts"].long()
        return counts
