"""One training step of a system, and one batch of its samples, by genfuse and by plain PyTorch."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from genfuse import systems
from genfuse.data import Data
from genfuse.train import Ema, Step, System, settings
from genfuse.train.batches import Batches, NumberedBatches, batches_of
from genfuse.train.step import Updates
from genfuse_bench.plain_functions import plain_functions
from genfuse_bench.plain_modules import make_plain

OURS, EAGER, LAST, COMPILED = "ours", "eager", "eager channels-last", "compile"
WHO = (OURS, EAGER, LAST, COMPILED)


class LaidOut:
    """Batches in channels-last memory."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def draw(self, generator: torch.Generator, label: int | None = None) -> tuple[Tensor, Tensor]:
        """As the other's."""
        samples, labels = self._batches.draw(generator, label)
        return _laid_out(samples), labels

    def draw_numbered(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """As the other's."""
        assert isinstance(self._batches, NumberedBatches)
        samples, numbers = self._batches.draw_numbered(generator)
        return _laid_out(samples), numbers


def _laid_out(samples: Tensor) -> Tensor:
    return samples.contiguous(memory_format=torch.channels_last) if samples.ndim == 4 else samples


class Watched(Updates):
    """Updates that remember the most bytes which autograd kept from forward to backward, beside the weights."""

    kept: weakref.WeakSet[_Kept] | None = None
    most = 0

    def add_gradient(self, name: str, loss: Tensor, part: int = 0) -> None:
        """Counted where a graph is complete: just before its backward."""
        if self.kept is not None:
            storages = [each.tensor.untyped_storage() for each in self.kept]
            sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
            weights = {w.untyped_storage().data_ptr() for key in self.optimizers for w in self._weights(key)}
            self.most = max(self.most, sum(size for place, size in sizes.items() if place not in weights))
        super().add_gradient(name, loss, part)


class _Kept:
    """What autograd holds in a tensor's place, for as long as it does."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class SystemStep:
    """A competitor's copy of a system, in training: the same weights, batches and random numbers for everyone.

    Args:
        name: the system's.
        who: one of `WHO`.
        data: what it is trained on.
        batch: samples a batch; the system's own where None.
        changes: settings by name.
    """

    def __init__(
        self, name: str, who: str, data: Data, batch: int | None = None, changes: dict[str, Any] | None = None
    ) -> None:
        chosen = systems.get(name)
        config, run = chosen.defaults(data.image_shape)
        if batch is not None:
            run = settings.changed(run, {"batch_size": batch})
        config = chosen.fitted(settings.changed(config, changes or {}), data)
        self.who, self.run = who, run
        self.system: System[Any] = chosen(config, data.image_shape, data.class_names).train()
        self.batches = batches_of(data, run)
        if who != OURS:
            make_plain(self.system)
        if who == LAST:
            last: Any = self.system
            last.to(memory_format=torch.channels_last)
            self.batches = LaidOut(self.batches)
        self.ema = Ema(self.system.averaged, run.ema_decay)
        if who == COMPILED:
            for network in _networks(self.system):
                network.compile(dynamic=False)
        self.updates = Watched(self.system.optimizers(run), run)
        self.numbers: dict[str, Tensor] = {}

    @contextmanager
    def _plain(self) -> Iterator[None]:
        with nullcontext() if self.who == OURS else plain_functions():
            yield

    def begin(self) -> None:
        """In training."""
        self.system.train()

    def step(self, i: int) -> None:
        """All that `genfuse train` does with a step: updates of all networks, averages of weights."""
        with self._plain(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(i)
            now = Step(i, self.batches, self.updates)
            self.system.step(now)
            self.ema.update(self.system.averaged, i)
        self.numbers = now.numbers

    def sample(self, count: int) -> Tensor:
        """One batch of samples."""
        with self._plain():
            return self.system.sample(count, batch=count).images

    def activation_bytes(self) -> int:
        """The most that autograd keeps from forward to backward in a step, beside the weights."""
        kept: weakref.WeakSet[_Kept] = weakref.WeakSet()

        def pack(tensor: Tensor) -> Any:
            if tensor.layout != torch.strided:
                return tensor
            holder = _Kept(tensor)
            kept.add(holder)
            return holder

        self.updates.kept, self.updates.most = kept, 0
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: getattr(held, "tensor", held)):
            self.step(0)
        self.updates.kept = None
        return self.updates.most


class Sampling:
    """A competitor's batch of samples as something to be timed."""

    def __init__(self, of: SystemStep, count: int) -> None:
        self._of, self._count = of, count

    def begin(self) -> None:
        """In use."""
        self._of.system.eval()

    def step(self, i: int) -> None:
        """One batch."""
        self._of.sample(self._count)


def _networks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules below that can be called."""
    for child in module.children():
        if type(child).forward is nn.Module.forward:  # holds others, as `ModuleDict` does
            yield from _networks(child)
        else:
            yield child
