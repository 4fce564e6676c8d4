"""`optimize`: a model that shares the user's parameters and runs fused units."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from genfuse.names import check_name
from genfuse.rewrite.backend import Backend
from genfuse.rewrite.report import Report
from genfuse_kernels.conv_norm_act.settings import ACCURACIES, Accuracy


def optimize(
    model: nn.Module, example: tuple[Any, ...] | None = None, *, accuracy: Accuracy = "fast"
) -> nn.Module:
    """The model with its convolutions, and the norms, activations and additions around them, as fused units.

    model     any module that torch.compile can trace; it is left as it is and shares its parameters
    example   arguments to make the first plan with, without gradient; otherwise the first call makes it
    accuracy  "fast" admits Winograd, "exact" does not

    Returns a module of the same class with the same parameters and state dict. Plans are made at the first call of
    each input signature, mode and gradient state. Its `report()` prints what was fused, what not, and why.
    TypeError for anything but a module, ValueError for an unknown accuracy.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {type(model).__name__}, expected a torch.nn.Module")
    check_name("accuracy", accuracy, ACCURACIES)
    backend = Backend(accuracy)

    def forward(*args: Any, **kwargs: Any) -> Any:
        return model(
            *args, **kwargs
        )  # from a function of ours: Dynamo does not trace containers' own forward

    optimized = copy.copy(model)
    object.__setattr__(
        optimized, "_compiled_call_impl", torch.compile(forward, backend=backend, dynamic=False)
    )

    def report() -> Report:
        return backend.report

    object.__setattr__(optimized, "report", report)
    if example is not None:
        with torch.no_grad():
            optimized(*example)
    return optimized
