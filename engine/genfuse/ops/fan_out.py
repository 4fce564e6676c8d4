"""An image that several units read: what each finds of its gradient is added up by their kernels.

Autograd adds the gradients of a tensor's readers one by one, a pass over memory for each. Here every reader has an
alias of its own, and in backward leaves what it found behind autograd's back; the next whose kernel writes a gradient
adds that on the way. Nothing is written to memory that others may hold. The aliases are for units alone: autograd does
not know their gradients.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genfuse.ops.library import needs_gradient, only_recorded


def fan_out(x: Tensor, readers: int) -> tuple[Tensor, ...]:
    """An alias of x for each reader. Where x needs no gradient, and in traced code, x itself."""
    if not (only_recorded(x) and needs_gradient(x)):
        return (x,) * readers
    aliases: tuple[Tensor, ...] = _FanOut.apply(x, readers)
    return aliases


class Reader(NamedTuple):
    """A unit that reads an image by an alias, in backward."""

    fan: _Fan

    @classmethod
    def of(cls, tensor: Tensor | None) -> Reader | None:
        """Of what it reads; None where that is no alias."""
        fan = None if tensor is None else getattr(tensor.grad_fn, "fan", None)
        return cls(fan) if isinstance(fan, _Fan) else None

    def take(self) -> Tensor | None:
        """A gradient that was left in this backward pass, to be added to one's own."""
        left = self.fan.left()
        return left.pop(0) if left else None

    def leave(self, gradient: Tensor) -> None:
        """What this reader found, with what it took: for others to take, and autograd is told of none."""
        self.fan.left().append(gradient)


class _Fan:
    """What was left, by backward pass: a graph may see several, of several threads.

    Of a pass that failed it stays as long as the graph does.
    """

    def __init__(self) -> None:
        self._passes: dict[int, list[Tensor]] = {}

    def left(self) -> list[Tensor]:
        """In the pass that runs."""
        return self._passes.setdefault(torch._C._current_graph_task_id(), [])

    def end(self) -> list[Tensor]:
        """In the pass that runs, in which all readers are done."""
        return self._passes.pop(torch._C._current_graph_task_id(), [])


class _FanOut(torch.autograd.Function):
    """x, to each of its readers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, readers: int) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.fan = _Fan()
        return tuple(x.view_as(x) for _ in range(readers))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        """Of what was left, and of what a gradient's own graph has sent to the aliases."""
        found = [*ctx.fan.end(), *(each for each in gradients if each is not None)]
        return (reduce(add, found) if found else None), None
