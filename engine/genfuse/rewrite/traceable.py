"""Batch norms in training whose own forward Dynamo does not keep in one graph, and what stands in its place.

Of momentum None `torch.nn`'s reads the number of batches as a Python number, at which Dynamo ends its graph, and in a
container the whole model's; that of `SyncBatchNorm` talks to other processes, and refuses the CPU. While a model is
called, a forward that is one call of the graph stands in that one's place.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeGuard
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch.fx import Node
from torch.nn.modules.batchnorm import _BatchNorm

from genfuse.ops.running_stats import update_running_stats
from genfuse.ops.synchronised_stats import group_of
from genfuse.rewrite import patterns, synchronised


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    num_batches_tracked: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float | None,
    eps: float,
    group: str | None,
) -> Tensor:
    """`torch.nn.functional.batch_norm` in training; counts the batch and moves the running statistics in place.

    momentum  None: the running statistics are the mean of all batches so far
    group     name of the processes that have a share of the batch each; None: all of it is here
    """
    running = running_mean, running_var, momentum
    images = _as_images(input)
    if group is None:
        normalised = patterns.by_batch(input, weight, bias, eps)
        update_running_stats(images, *running, num_batches_tracked=num_batches_tracked)
        return normalised
    if isinstance(input, FakeTensor):  # Dynamo asks for the form alone, in each process by itself
        unit = torch.ones(input.shape[1], device=input.device)
        return F.batch_norm(input, unit, unit, weight, bias, False, 0.0, eps)
    of_samples, of_all, count = synchronised.stats_over(images, group)
    update_running_stats(images, *running, stats=of_all, num_batches_tracked=num_batches_tracked, count=count)
    return synchronised.by_stats(images, weight, bias, eps, of_samples).view(input.shape)


def is_exchange(node: Node) -> bool:
    """Whether a call of Dynamo's graph is a batch norm over several processes."""
    return node.target is batch_norm and node.args[-1] is not None


def _as_images(input: Tensor) -> Tensor:
    """(N, C, H, W) or (N, C, L) of (N, C, ...)."""
    if input.ndim in (3, 4):
        return input
    return input.unsqueeze(2) if input.ndim == 2 else input.flatten(2)


def _forward(group: str | None) -> Callable[[_BatchNorm, Tensor], Tensor]:
    def forward(self: _BatchNorm, input: Tensor) -> Tensor:
        if not self.training:  # any more, as another thread has it
            normalised: Tensor = type(self).forward(self, input)
            return normalised
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        tracked = (self.running_mean, self.running_var, self.num_batches_tracked)
        mean, var, count = tracked if self.track_running_stats else (None, None, None)
        return batch_norm(input, mean, var, count, self.weight, self.bias, self.momentum, self.eps, group)

    return forward


_lock = threading.Lock()
_calls: WeakKeyDictionary[_BatchNorm, int] = WeakKeyDictionary()
"""How many calls, of all threads, a stand-in is there for: it stays until the last one ends."""


@contextmanager
def traceable(model: nn.Module) -> Iterator[None]:
    """Such norms run by `batch_norm` here, one call of Dynamo's graph."""
    norms = _stand_in(model)
    try:
        yield
    finally:
        _end(norms)


def _stand_in(model: nn.Module) -> list[_BatchNorm]:
    with _lock:
        norms = [module for module in model.modules() if _is_untraceable(module)]
        for norm in norms:
            if norm not in _calls:
                norm.__dict__["forward"] = types.MethodType(_forward(_processes(norm)), norm)
            _calls[norm] = _calls.get(norm, 0) + 1
    if norms:
        from torch import _dynamo as dynamo  # here, not on import: it brings Triton along

        dynamo.allow_in_graph(batch_norm)  # type: ignore[no-untyped-call]
    return norms


def _end(norms: list[_BatchNorm]) -> None:
    with _lock:
        for norm in norms:
            _calls[norm] -= 1
            if not _calls[norm]:
                del _calls[norm]
                norm.__dict__.pop("forward", None)


def _is_untraceable(module: nn.Module) -> TypeGuard[_BatchNorm]:
    if not isinstance(module, _BatchNorm) or not module.training:
        return False
    if "forward" in module.__dict__ and module not in _calls:  # the user's own
        return False
    if type(module).forward is nn.SyncBatchNorm.forward:
        return True
    return (
        module.momentum is None
        and module.track_running_stats
        and all(t is not None for t in (module.running_mean, module.running_var, module.num_batches_tracked))
        and type(module).forward is _BatchNorm.forward
    )


def _processes(norm: nn.Module) -> str | None:
    """The name of the group over which a norm synchronises, where it has several processes."""
    group = group_of(norm.process_group) if isinstance(norm, nn.SyncBatchNorm) else None
    return None if group is None else str(group.group_name)
