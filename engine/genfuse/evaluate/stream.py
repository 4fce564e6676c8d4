"""Statistics that are gathered a batch at a time, in memory that does not grow, and put together afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors_torch
from torch import Tensor

from genfuse.data.atomic import atomic_path
from genfuse.errors import CheckpointError

if TYPE_CHECKING:
    from typing_extensions import Self


class Stream(ABC):
    """What every such statistic can do beside being updated: merge, be saved, be put together over processes."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Take in what ``other`` has seen, as if its batches had come here."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """All there is to it, as tensors by name."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Tensor]) -> Self:
        """The statistic of :meth:`state`. KeyError, ValueError or TypeError where that is of another kind."""

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all."""
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(self._bytes())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What :meth:`save` wrote.

        Raises:
            CheckpointError: nothing is there, or no whole file of this statistic.
        """
        try:
            with safe_open(path, framework="pt") as opened:
                kind = (opened.metadata() or {}).get("statistic")
                state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, not a mapping
            if kind != cls.__name__:
                raise ValueError(f"it is of {kind}")
            return cls.from_state(state)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} holds no {cls.__name__} ({error}): save it anew") from error

    def over_processes(self, group: dist.ProcessGroup | None = None) -> Self:
        """A new statistic of what all processes of ``group`` have seen, the same in each of them.

        Merged in the order of ranks, so that it has the same bits in every process. Where ``torch.distributed`` is
        not initialised there is one process, and this is a copy.
        """
        parts = [self._bytes()]
        if dist.is_available() and dist.is_initialized():
            parts = [b""] * dist.get_world_size(group)
            dist.all_gather_object(parts, self._bytes(), group=group)
        first, *rest = (self.from_state(safetensors_torch.load(part)) for part in parts)
        for other in rest:
            first.merge(other)
        return first

    def _bytes(self) -> bytes:
        state = {name: tensor.contiguous() for name, tensor in self.state().items()}
        return safetensors_torch.save(state, {"statistic": type(self).__name__})
