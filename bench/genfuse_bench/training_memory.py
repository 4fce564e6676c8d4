"""A training step whose peak of memory is measured."""

from __future__ import annotations

from collections.abc import Callable

import torch

from genfuse_bench.training import step_of, target_of
from genfuse_bench.training_networks import network


def prepared(section: str, dtype: torch.dtype, who: str) -> Callable[[], object]:
    """A second step: activations, gradients of the weights, and working memory."""
    _, module, inputs = network(section)
    step = step_of(who, module, inputs, target_of(module, inputs), dtype)
    step.begin()
    step.step(0)
    step.begin()  # gradients go
    return lambda: step.step(1)
