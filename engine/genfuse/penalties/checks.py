"""Checks that the penalties share: each names the argument, what it got and what it expected."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from genfuse.names import check_name
from genfuse.ops import check
from genfuse_kernels.conv_norm_act.settings import ACCURACIES

Fallback = Literal["autograd"]


def check_options(weight: float, seed: int | None, fallback: object, accuracy: object) -> None:
    """ValueError or TypeError for a weight below 0, a seed that is none, an unknown fallback or accuracy."""
    check.finite("weight", weight)
    if weight < 0:
        raise ValueError(f"weight is {weight}, expected 0 or more")
    if seed is not None:
        check.seed(seed)
    if fallback is not None:
        check_name("fallback", fallback, ("autograd",))
    if accuracy is not None:
        check_name("accuracy", accuracy, ACCURACIES)


def check_samples(name: str, tensor: Tensor) -> None:
    """At least one sample of at least one number, finite where that can be seen without waiting for a device."""
    check.sample(name, tensor)
    check.valued(name, tensor)
    if tensor.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, expected at least one sample of one number"
        )
    if tensor.device.type == "cpu" and not _is_finite(tensor):
        sample = int((~tensor.isfinite()).reshape(tensor.shape[0], -1).any(1).nonzero()[0])
        raise ValueError(f"{name} is not finite in sample {sample}, expected numbers")


def _is_finite(tensor: Tensor) -> bool:
    """In one pass over memory: NaN is both the least and the largest where it is anywhere."""
    least, largest = tensor.detach().aminmax()
    return bool(least.isfinite() & largest.isfinite())
