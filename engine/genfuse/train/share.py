"""Which samples of a step's batch are computed at a time: a process's, or one part of those."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Share:
    """Number ``index`` of ``count`` equal shares of a batch, in the order of its samples."""

    index: int = 0
    count: int = 1

    def rows(self, whole: Tensor) -> Tensor:
        """(N·count, ...) → (N, ...)."""
        samples = len(whole) // self.count
        return whole[self.index * samples : (self.index + 1) * samples]
