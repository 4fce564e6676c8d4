"""A failed step leaves a model's buffers as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parameter import is_lazy


@contextmanager
def rollback_on_failure(*models: nn.Module) -> Iterator[None]:
    """Whatever the block raises, the buffers of modules in training are what they were before it.

        with genfuse.rollback_on_failure(model):
            loss(model(x)).backward()
            optimizer.step()

    A forward in training moves running statistics, and counts batches, layer by layer; PyTorch leaves them moved where
    a later layer, the loss or backward fails (out of memory, NaN where anomalies are detected, an interrupt). Weights
    change in the optimizer's step alone, which nothing that failed before it reaches; their `grad` may hold some of the
    gradients, which `zero_grad` forgets.

    It costs a copy of the buffers. Buffers keep their identity; those that the block assigned anew are put back, those
    that it registered stay.
    """
    kept = [
        (module, name, buffer, buffer.detach().clone())
        for model in models
        for module in model.modules()
        if module.training
        for name, buffer in module._buffers.items()
        if buffer is not None and not is_lazy(buffer)
    ]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for module, name, buffer, before in kept:
                module._buffers[name] = buffer
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
        raise
