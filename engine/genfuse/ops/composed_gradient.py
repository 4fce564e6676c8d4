"""An op's gradients with a graph behind them, for `create_graph=True`: of the same op composed of PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def composed_gradient(
    compose: Callable[[Sequence[Tensor | None]], Tensor],
    inputs: Sequence[Tensor | None],
    gradient: Tensor,
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """One for each input, None where none is needed or the result does not depend on it.

    compose   the output of such inputs, differentiable twice
    gradient  of the output
    """
    # Aliases: what one input may have been made of another is not part of this op's gradient.
    with torch.enable_grad():  # a pass of many gradients at once needs no graph behind these
        aliases = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
        y = compose(aliases)
    asked = {i: tensor for i, tensor in enumerate(aliases) if tensor is not None and needs[i]}
    found: list[Tensor | None] = [None] * len(inputs)
    if asked and y.requires_grad:
        graph = torch.is_grad_enabled()
        made = torch.autograd.grad(y, list(asked.values()), gradient, create_graph=graph, allow_unused=True)
        for i, one in zip(asked, made, strict=True):
            found[i] = one
    return found
