"""The processes that share a command's work, as torchrun starts them; one alone where nothing did.

Networks are not wrapped in `DistributedDataParallel`. It hooks one forward of one module to the backward that follows,
where an adversarial step has several forwards of a critic behind a loss, leaves out the other network's weights and has
penalties whose gradients were computed already; and it refuses synchronised norms on the CPU. What it is for is one sum
over the processes of the gradients that an update goes by: :meth:`Processes.average`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """Attributes:
    rank: of this one.
    world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether files and messages are this one's."""
        return self.rank == 0

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """In place, of floating tensors that every process has alike: their means, the same bits everywhere.

        One exchange for each dtype and device, for a network has a hundred tensors and an exchange its price.
        """
        if self.world == 1:
            return
        alike: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor in tensors:
            alike.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        for several in alike.values():
            flat = torch.cat([tensor.detach().flatten() for tensor in several])
            dist.all_reduce(flat)
            flat /= self.world
            means = torch.split(flat, [tensor.numel() for tensor in several])
            for tensor, mean in zip(several, means, strict=True):
                tensor.copy_(mean.view(tensor.shape))

    def gather(self, mine: T) -> list[T]:
        """What each process has, by rank, at the first process; nothing at others."""
        if self.world == 1:
            return [mine]
        found: list[Any] | None = [None] * self.world if self.is_first else None
        dist.gather_object(mine, found)
        return found or []

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


def here() -> Processes:
    """Those of `torch.distributed`, where it is initialised."""
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes()


def place(device: str | torch.device) -> torch.device:
    """This process's device of a kind: "cuda" is the GPU of its rank on this machine. ValueError for no kind."""
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}, expected cpu, cuda, cuda:1, ...") from error
    if chosen.type == "cuda" and chosen.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return chosen


@contextmanager
def joined(device: str | torch.device = "cpu") -> Iterator[Processes]:
    """Inside, the processes that torchrun's environment tells of: by gloo, and of tensors on GPUs by NCCL.

    Without that environment this process is alone; a group that is there already is taken.
    """
    starts = "WORLD_SIZE" in os.environ and dist.is_available() and not dist.is_initialized()
    if starts:
        chosen = place(device)
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield here()
    finally:
        if starts:
            dist.destroy_process_group()
