"""A unit's input that is not kept for backward but computed again, by the unit that made it.

Only its form is kept, and what it was made of, which autograd keeps as it does every tensor: an edit in between is an
error, other saved-tensor hooks see it, and a gradient of the gradient goes on to the node that made the input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from genfuse.ops.conv_call import NAMES
from genfuse.ops.conv_launch import launch_unkept
from genfuse_kernels.conv_norm_act.settings import Settings

_Result = TypeVar("_Result", bound=tuple[Tensor, ...])


class Recipe:
    """How a unit made its output; called, it makes the same bits again."""

    def __init__(self, settings: Settings, node: Any) -> None:
        self._settings, self._node = settings, node

    def __call__(self) -> Tensor:
        """RuntimeError where something that was read is not what it was."""
        with torch.no_grad():
            return launch_unkept(self._settings, False, self._node.saved_tensors)[0]


class _Ingredients(torch.autograd.Function):
    """Keeps what it is given, and makes nothing of it."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor | None) -> Tensor:
        ctx.save_for_backward(*inputs)
        return torch.empty(0)


def recipe_of(y: Tensor, bias: Tensor | None, shift: Tensor | None, residual: Tensor | None) -> Recipe | None:
    """Of the output of a unit, right behind it; None where it was not made by one of our kernels with gradients.

    bias, shift, residual   what it added, which its backward does not read
    """
    node: Any = y.grad_fn
    settings = getattr(node, "settings", None)
    if not isinstance(settings, Settings):
        return None
    added = {"bias": bias, "shift": shift, "residual": residual}
    kept = dict(zip(NAMES, node.saved_tensors, strict=True))
    inputs = [added[name] if kept[name] is None and name in added else kept[name] for name in NAMES]
    token: Tensor = _Ingredients.apply(*inputs)
    return Recipe(settings, token.grad_fn)


def with_first_as(recipe: Callable[[], Tensor] | None, apply: Callable[[], _Result]) -> _Result:
    """`apply()`, an autograd function whose first saved tensor `recipe` makes again; without one it is kept."""
    others = _hooks() if recipe is not None else None
    if others is not None and recipe is not None:
        with saved_tensors_hooks(*_composed(recipe, *others)):
            return apply()
    result = apply()
    node: Any = result[0].grad_fn
    if recipe is not None and node is not None:
        node._raw_saved_tensors[0].register_hooks(lambda _: recipe, lambda made_by: made_by())
    return result


def _hooks() -> tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]] | None:
    """Those of a block around, as of `torch.autograd.graph.save_on_cpu` and of checkpointing."""
    found: tuple[Any, Any] | None = torch._C._autograd._top_saved_tensors_default_hooks(False)
    return found


def _composed(
    recipe: Callable[[], Tensor], pack: Callable[[Tensor], Any], unpack: Callable[[Any], Tensor]
) -> tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]:
    """Hooks that leave all but the first tensor to these."""
    is_first = True

    def packed(tensor: Tensor) -> tuple[bool, Any]:
        nonlocal is_first
        made, is_first = is_first, False
        return made, recipe if made else pack(tensor)

    def unpacked(kept: tuple[bool, Any]) -> Tensor:
        made, packed = kept
        return packed() if made else unpack(packed)

    return packed, unpacked
