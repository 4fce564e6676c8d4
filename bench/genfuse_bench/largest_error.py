"""How far tensors are off, as training rows say it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def largest_error(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """The largest, relative to the largest value that is wanted; infinite for other shapes."""
    if [tensor.shape for tensor in got] != [tensor.shape for tensor in want]:
        return float("inf")
    largest = max(float(tensor.abs().max()) for tensor in want)
    return max(float((a.double() - b).abs().max()) for a, b in zip(got, want, strict=True)) / largest
