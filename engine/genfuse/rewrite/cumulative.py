"""Batch norms of momentum None in training, whose running statistics are the mean of all batches so far.

`torch.nn`'s forward reads the number of batches as a Python number, at which Dynamo ends its graph, and in a container
the whole model's. While a model is called, a forward that leaves the number where it is stands in that one's place.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from genfuse.ops.running_stats import update_running_stats
from genfuse.rewrite import patterns


def batch_norm(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """`torch.nn.functional.batch_norm` in training; counts the batch and moves the running statistics in place."""
    images = input if input.ndim in (3, 4) else input.reshape(*input.shape[:2], -1)
    update_running_stats(images, running_mean, running_var, None, num_batches_tracked=num_batches_tracked)
    return patterns.by_batch(input, weight, bias, eps)


def _forward(self: _BatchNorm, input: Tensor) -> Tensor:
    self._check_input_dim(input)  # type: ignore[no-untyped-call]
    mean, var, count = self.running_mean, self.running_var, self.num_batches_tracked
    assert mean is not None and var is not None and count is not None
    return batch_norm(input, mean, var, count, self.weight, self.bias, self.eps)


@contextmanager
def traceable(model: nn.Module) -> Iterator[None]:
    """Such norms run by `batch_norm` here, one call of Dynamo's graph."""
    norms = [module for module in model.modules() if _is_cumulative(module)]
    if norms:
        from torch import _dynamo as dynamo  # here, not on import: it brings Triton along

        dynamo.allow_in_graph(batch_norm)  # type: ignore[no-untyped-call]
    for norm in norms:
        norm.__dict__["forward"] = types.MethodType(_forward, norm)
    try:
        yield
    finally:
        for norm in norms:
            norm.__dict__.pop("forward", None)


def _is_cumulative(module: nn.Module) -> bool:
    return (
        isinstance(module, _BatchNorm)
        and module.momentum is None
        and module.training
        and module.track_running_stats
        and all(t is not None for t in (module.running_mean, module.running_var, module.num_batches_tracked))
        and type(module).forward is _BatchNorm.forward
        and "forward" not in module.__dict__
    )
