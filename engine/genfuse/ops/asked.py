"""What a backward pass asks for: of `autograd.grad` the gradients of some inputs, not all that its graph could give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genfuse.ops.library import is_transformed


def asks_for_graph(gradient: Tensor) -> bool:
    """Whether a gradient has to be made of PyTorch's own ops: to be differentiated, or of many gradients at once."""
    batched = torch._C._functorch.is_legacy_batchedtensor(gradient)  # `is_grads_batched`
    return torch.is_grad_enabled() or batched or is_transformed()


def tensors_among(inputs: Sequence[Any]) -> tuple[bool, ...]:
    """To be kept by a function's forward: autograd has an edge for each tensor among its inputs."""
    return tuple(isinstance(each, Tensor) for each in inputs)


def asked(ctx: Any, are_tensors: Sequence[bool]) -> tuple[bool, ...]:
    """Whether the pass that runs uses the gradient of each input, in a function's backward.

    ctx          the function's, of which `needs_input_grad` was settled when it ran forwards
    are_tensors  of its last inputs, before which it has none that are tensors
    """
    edges = iter(ctx.next_functions)
    needs = ctx.needs_input_grad[-len(are_tensors) :]
    nodes = [next(edges)[0] if is_tensor else None for is_tensor in are_tensors]
    return tuple(needed and _runs(node) for needed, node in zip(needs, nodes, strict=True))


def _runs(node: Any) -> bool:
    if node is None:
        return False
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except RuntimeError:  # of a leaf whose gradient `autograd.grad` gives back
        return True
