"""A fixed number of samples out of as many as come, each as likely as any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.evaluate.stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Self


class Reservoir(Stream):
    """A uniform sample, without replacement, of what was seen, for metrics that need the samples themselves.

    A sample's own index and ``seed`` give it a rank, and those of lowest rank stay ("bottom-k" sampling, Cohen and
    Kaplan 2007). So what is kept depends on which samples there were, not on batches, on their order or on how many
    processes shared the work.

    Args:
        capacity: samples kept.
        seed: of the ranks.

    Attributes:
        seen: how many samples came.
    """

    def __init__(self, capacity: int, seed: int = 0) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}, expected 1 or more")
        self.capacity, self.seed, self.seen = capacity, seed, 0
        self._indices = torch.zeros(0, dtype=torch.int64)
        self._columns: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, name: str) -> Tensor:
        """Column ``name`` of the kept samples, (K, ...), in the order of their indices."""
        if name not in self._columns:
            raise KeyError(f"there is no column {name!r}, expected one of {', '.join(self._columns)}")
        return self._columns[name][self._indices.argsort()]

    @property
    def indices(self) -> Tensor:
        """(K,) int64, rising."""
        return self._indices.sort().values

    def update(self, first: int, **columns: Tensor) -> None:
        """Take in samples ``first``, ``first + 1``, ... of all that there are.

        Args:
            first: index of the first; no two samples, in any process, share one.
            columns: what is kept of each, such as ``features=(n, D)`` and ``images=(n, C, H, W)``; always the same.

        Raises:
            ValueError: other columns than before, of other lengths or shapes, or samples that were here already.
        """
        lengths = {len(column) for column in columns.values()}
        if len(lengths) != 1 or first < 0:
            raise ValueError(
                f"columns have lengths {sorted(lengths)} from {first} on, expected one length, from 0 on"
            )
        (count,) = lengths
        self._take(torch.arange(first, first + count), columns)
        self.seen += count

    def merge(self, other: Reservoir) -> None:
        """ValueError where ``other`` has another seed, capacity or columns, or has seen a sample that is here too."""
        if (other.capacity, other.seed) != (self.capacity, self.seed):
            raise ValueError(
                f"other keeps {other.capacity} by seed {other.seed}, expected {self.capacity} by seed {self.seed}"
            )
        if len(other):
            self._take(other._indices, other._columns)
        self.seen += other.seen

    def _take(self, indices: Tensor, columns: dict[str, Tensor]) -> None:
        columns = {name: column.detach().cpu() for name, column in columns.items()}
        if not self._columns:
            self._columns = {name: column[:0] for name, column in columns.items()}
        shapes = {name: (column.shape[1:], column.dtype) for name, column in columns.items()}
        expected = {name: (column.shape[1:], column.dtype) for name, column in self._columns.items()}
        if shapes != expected:
            raise ValueError(f"columns are {shapes}, expected {expected}")
        if torch.isin(indices, self._indices).any():
            raise ValueError("a sample is here already: give each an index of its own, in every process")
        both = torch.cat((self._indices, indices))
        kept = torch.from_numpy(np.argsort(_ranks(both.numpy(), self.seed))[: self.capacity])
        if len(self) < self.capacity:
            self._columns = {n: torch.cat((self._columns[n], columns[n]))[kept] for n in columns}
            self._indices = both[kept]
            return
        # Few of a batch come in once it is full: they take the places of those that leave, and nothing else is moved.
        come = kept[kept >= self.capacity] - self.capacity
        stays = torch.zeros(self.capacity, dtype=torch.bool)
        stays[kept[kept < self.capacity]] = True
        free = (~stays).nonzero()[:, 0]
        self._indices[free] = indices[come]
        for name, column in columns.items():
            self._columns[name][free] = column[come]

    def state(self) -> dict[str, Tensor]:
        numbers = torch.tensor([self.capacity, self.seed, self.seen])
        return {
            "numbers": numbers,
            "indices": self._indices,
            **{f"column.{n}": c for n, c in self._columns.items()},
        }

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Self:
        capacity, seed, seen = state["numbers"].tolist()
        reservoir = cls(capacity, seed)
        reservoir.seen, reservoir._indices = seen, state["indices"]
        reservoir._columns = {
            n.removeprefix("column."): c for n, c in state.items() if n.startswith("column.")
        }
        if (
            any(len(column) != len(reservoir) for column in reservoir._columns.values())
            or len(reservoir) > capacity
        ):
            raise ValueError("its columns have other lengths than its indices")
        return reservoir


def _ranks(indices: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """SplitMix64's finaliser of index and seed (Steele, Lea and Flood 2014): one to one, so no two ranks are equal."""
    with np.errstate(over="ignore"):
        x = indices.astype(np.uint64) + np.uint64(seed % 2**64) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        ranks: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return ranks
