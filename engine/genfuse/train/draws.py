"""Random numbers of a batch's samples, the same however the batch is shared out."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse.train.share import Share


class Draws:
    """Numbers of the whole batch are drawn, and those of this share's samples returned.

    So the first axis of every shape counts samples of the share; without a shape, one number is drawn for all.

    Args:
        generator: all that is random is drawn from it, on the CPU.
        share: of the batch.
        device: where the numbers go.
    """

    def __init__(
        self, generator: torch.Generator, share: Share | None = None, device: str | torch.device = "cpu"
    ) -> None:
        self.generator, self.share, self.device = generator, share or Share(), torch.device(device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, float32."""
        return self._own(torch.randn(self._whole(shape), generator=self.generator))

    def uniform(self, *shape: int) -> Tensor:
        """Numbers of [0, 1), float32."""
        return self._own(torch.rand(self._whole(shape), generator=self.generator))

    def integers(self, stop: int, *shape: int) -> Tensor:
        """Whole numbers of [0, stop), int64."""
        return self._own(torch.randint(stop, self._whole(shape), generator=self.generator))

    def others(self, labels: Tensor, classes: int) -> Tensor:
        """For each label (N,) int64 one of the ``classes - 1`` others."""
        return (labels + 1 + self.integers(classes - 1, len(labels))) % classes

    def seed(self) -> int:
        """For what draws by a seed of its own, as `genfuse.gradient_penalty` does; the same for all shares."""
        return int(self.integers(2**62))

    def first(self, samples: int) -> int:
        """Where this share's first sample is in the whole batch, of which it has so many."""
        return self.share.index * samples

    def _whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0] * self.share.count, *shape[1:]) if shape else ()

    def _own(self, whole: Tensor) -> Tensor:
        return (self.share.rows(whole) if whole.ndim else whole).to(self.device)
