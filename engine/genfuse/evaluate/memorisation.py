"""Whether samples are copies of training pictures, mirrored ones included."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.evaluate.neighbours import nearest
from genfuse.evaluate.stream import Stream

LARGEST_SIDE = 32
"""Pixels are compared at no more than so many a side: copies agree in what is coarse, and noise averages out."""


def pixels(images: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C·h·w), averaged down to 32 pixels a side where there are more."""
    height, width = (min(side, LARGEST_SIDE) for side in images.shape[2:])
    return F.adaptive_avg_pool2d(images, (height, width)).flatten(1)


class TrainingSet:
    """The pictures that a generator was trained on, and how near to them pictures are that are new.

    How near: the distance to the nearest training picture or mirrored one, over the mean of those to the 50 nearest
    (Carlini et al. 2023, arXiv:2301.13188). A plain picture is near many, a copy much nearer to one.
    Calibration: of each training picture the same ratio to all others, for which it is a new one of the same kind.

    Args:
        images: (M, C, H, W), floating, M at least 3.
        represent: (n, C, H, W) to features (n, D), in which distances are measured.
        neighbours: in the mean; fewer where there are not so many.
        share: of new pictures that are taken for copies.

    Attributes:
        ratios: (M,) float64, rising: those of the calibration.
        threshold: their quantile ``share``. A sample whose ratio is not above is a copy.

    Raises:
        ValueError: images have another shape or are too few, or ``share`` is none.
    """

    def __init__(
        self,
        images: Tensor,
        represent: Callable[[Tensor], Tensor] = pixels,
        *,
        neighbours: int = 50,
        share: float = 0.05,
    ) -> None:
        if images.ndim != 4 or len(images) < 3:
            raise ValueError(f"images has shape {tuple(images.shape)}, expected (M, C, H, W), M at least 3")
        if not 0 < share < 1 or neighbours < 2:
            raise ValueError(
                f"share is {share} of {neighbours} neighbours, expected one in (0, 1) of at least 2"
            )
        self.images, self.share, self._represent = images, share, represent
        there, mirrored = represent(images), represent(images.flip(3))
        k = min(neighbours, len(images) - 1)
        distances = [nearest(there, points, k, skip_own=True)[0] for points in (there, mirrored)]
        self._points, self._neighbours = torch.cat((there, mirrored)), k
        self.ratios = _ratios(torch.cat(distances, 1).sort(1).values[:, :k]).sort().values
        self.threshold = torch.quantile(self.ratios, share).item()

    def nearest(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Ratio (N,) float64 and index (N,) int64 of the nearest training picture; M + i is picture i mirrored."""
        if images.shape[1:] != self.images.shape[1:]:
            raise ValueError(
                f"images has shape {tuple(images.shape)}, expected (N, C, H, W) = (N, *{tuple(self.images.shape[1:])})"
            )
        distances, indices = nearest(self._represent(images), self._points, self._neighbours)
        return _ratios(distances), indices[:, 0]

    def picture(self, index: Tensor) -> Tensor:
        """(N, C, H, W): the training pictures of the indices of :meth:`nearest`, mirrored where those say so."""
        count = len(self.images)
        found = self.images[index % count]
        return torch.where((index >= count)[:, None, None, None], found.flip(3), found)


class Copies(Stream):
    """How many samples are copies of training pictures, and the samples that are nearest to one.

    Args:
        keep: so many of the nearest samples.

    Attributes:
        count: of samples.
        copies: of them, whose ratio is not above the threshold.
        images: (K, C, H, W) the nearest samples, nearest first; `ratios` (K,) and `nearest` (K,) as of `TrainingSet`.
    """

    def __init__(self, keep: int = 24) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}, expected 1 or more")
        self.keep, self.count, self.copies, self._ranks = keep, 0, 0, 0.0
        self.images = torch.zeros(0)
        self.ratios = torch.zeros(0, dtype=torch.float64)
        self.nearest = torch.zeros(0, dtype=torch.int64)

    def update(self, images: Tensor, training: TrainingSet) -> None:
        """Take in (N, C, H, W). ValueError for pictures of another shape than the training's."""
        ratios, indices = training.nearest(images)
        below = torch.searchsorted(training.ratios, ratios)
        equal = torch.searchsorted(training.ratios, ratios, right=True) - below
        self._ranks += len(images) - (below + equal.double() / 2).sum().item() / len(training.ratios)
        self.copies += int((ratios <= training.threshold).sum())
        self.count += len(images)
        self._keep(images.cpu(), ratios, indices)

    @property
    def share(self) -> float:
        """Of all samples, the copies; of new pictures it would be the training set's ``share``. NaN of no samples."""
        return self.copies / self.count if self.count else float("nan")

    @property
    def nearer(self) -> float:
        """Chance that a sample is nearer to the training pictures than these are to one another.

        0.5 for new pictures of the same kind, 1 for copies (Mann and Whitney's U over its largest value, as Meehan et
        al. 2020, arXiv:2004.05675, use it); below where samples are worse or more varied. NaN of no samples.
        """
        return self._ranks / self.count if self.count else float("nan")

    def merge(self, other: Copies) -> None:
        self.count += other.count
        self.copies += other.copies
        self._ranks += other._ranks
        self._keep(other.images, other.ratios, other.nearest)

    def _keep(self, images: Tensor, ratios: Tensor, indices: Tensor) -> None:
        if not len(ratios):
            return
        if len(self.ratios):
            images = torch.cat((self.images, images))
        ratios, order = torch.cat((self.ratios, ratios)).sort(stable=True)
        order = order[: self.keep]
        self.images, self.ratios = images[order], ratios[: self.keep]
        self.nearest = torch.cat((self.nearest, indices))[order]

    def pairs(self, training: TrainingSet) -> Tensor:
        """(2K, C, H, W): each kept sample and behind it its nearest training picture."""
        both = torch.stack((self.images, training.picture(self.nearest).to(self.images.dtype)), 1)
        return both.flatten(0, 1)

    def state(self) -> dict[str, Tensor]:
        numbers = torch.tensor([self.keep, self.count, self.copies])
        kept = {"images": self.images, "ratios": self.ratios, "nearest": self.nearest}
        return {"numbers": numbers, "ranks": torch.tensor(self._ranks, dtype=torch.float64), **kept}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Copies:
        keep, count, copies = state["numbers"].tolist()
        made = cls(keep)
        made.count, made.copies, made._ranks = count, copies, state["ranks"].item()
        made.images, made.ratios, made.nearest = state["images"], state["ratios"], state["nearest"]
        if not len(made.ratios) == len(made.nearest) == len(made.images):
            raise ValueError("its pictures have another number than their ratios")
        return made


def _ratios(distances: Tensor) -> Tensor:
    """(N, k) rising → (N,): the first over the mean; 0 where all are 0."""
    mean = distances.mean(1)
    return torch.where(mean > 0, distances[:, 0] / mean.clamp(min=torch.finfo(mean.dtype).tiny), 0)
