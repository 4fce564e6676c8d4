"""What a trained system made."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pictures:
    """Samples, and what is said of them.

    images   (N, C, H, W) float32 in [-1, 1], on the CPU; or points (N, 2); or tokens (N, L) int64
    seconds  that they took
    detail   where the time went, or how they were made
    columns  pictures a row where the samples ask for it: walks are strips
    texts    what the tokens say, a line a sample
    shown    what a grid of them shows where that is more: beside each what it was made from
    """

    images: Tensor
    seconds: float
    detail: str = ""
    columns: int | None = None
    texts: tuple[str, ...] = ()
    shown: Tensor | None = None
