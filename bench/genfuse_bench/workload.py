"""A module with its inputs, which everyone is given to run, and what running it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Inputs = tuple[Tensor, ...]


class Run(NamedTuple):
    """A way to run a workload: what is timed, and how its result becomes a tensor, which is not."""

    call: Callable[[], Any]
    read: Callable[[Any], Tensor]

    def output(self) -> Tensor:
        """The result of a call."""
        return self.read(self.call())


@dataclass(frozen=True)
class Workload:
    """A module in inference and its inputs, in float32."""

    name: str
    shape: tuple[int, ...]
    module: nn.Module
    inputs: Inputs
    flops: int
    """of the definition"""
    reduction: int | None
    """products that an output of a unit sums; None of a network"""

    @property
    def convolution(self) -> tuple[nn.Module, Inputs] | None:
        """A unit's convolution alone, and what it reads; None of a network."""
        conv = getattr(self.module, "conv", None)
        return (conv, self.inputs[:1]) if isinstance(conv, nn.Module) else None


def workload(
    name: str, shape: tuple[int, ...], module: nn.Module, inputs: Inputs, reduction: int | None = None
) -> Workload:
    """Ready for inference; products and sums counted by PyTorch."""
    module = module.eval().requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return Workload(name, shape, module, inputs, counter.get_total_flops(), reduction)


def cast(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Images in this dtype; timesteps as they are."""
    return tuple(x.to(dtype) if x.ndim == 4 else x for x in inputs)


def channels_last(inputs: Inputs) -> Inputs:
    """Images in channels-last memory, everything else as it is."""
    return tuple(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs)


def first(output: Any) -> Tensor:
    """The tensor of an output: itself, or the first of a record."""
    tensor: Tensor = output if isinstance(output, Tensor) else output[0]
    return tensor
