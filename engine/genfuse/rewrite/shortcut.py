"""A frozen model's calls: each goes straight to its plan, past the guards that Dynamo checks before it.

Dynamo looks at every module's attributes and hooks before each call, thousands of guards for a U-Net, to notice that
the model is not the same any more. Where the user says that it stays the same, what is given decides alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from genfuse.ops.library import needs_dispatcher
from genfuse.rewrite.plan import Plan, Planned, Run, form, on_run

_KEPT = 8
_VALUES = (
    Tensor,
    type(None),
    bool,
    int,
    float,
    str,
    torch.dtype,
    torch.device,
)  # that their form tells all of


@dataclass
class _Shortcut:
    """From the leaves of a call's arguments to its result, through one plan."""

    planned: Planned
    plan: Plan
    inputs: list[int | Any]  # the leaf's number, or what is given in every call
    is_leaf: list[bool]
    outputs: list[int | None]  # which of the plan's outputs a leaf of the result is; None: its constant
    constants: list[Any]
    result: TreeSpec

    def __call__(self, leaves: list[Any]) -> Any:
        inputs = tuple(
            leaves[each] if leaf else each for each, leaf in zip(self.inputs, self.is_leaf, strict=True)
        )
        made = self.plan.run_leaves(inputs)
        return tree_unflatten(
            [
                constant if number is None else made[number]
                for number, constant in zip(self.outputs, self.constants, strict=True)
            ],
            self.result,
        )


class Shortcuts:
    """Calls a model through `guarded`, or, where a call like this one went through one plan, through that plan.

    `guarded` and `whole` are the model's forward compiled; `whole` raises where Dynamo cannot trace all of it, so that
    nothing happens between the plan and the result but putting it together.
    """

    def __init__(self, model: nn.Module, guarded: Callable[..., Any], whole: Callable[..., Any]) -> None:
        self._model, self._guarded, self._whole = model, guarded, whole
        self._found: dict[Any, _Shortcut | None] = {}  # None: there is no way past the guards
        self.obstacle: str | None = None
        """Why the last kind of call has no shortcut."""

    def clear(self) -> None:
        """Forget all plans."""
        self._found.clear()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, structure = self._flattened(args, kwargs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        plain = all(isinstance(leaf, _VALUES) for leaf in leaves) and all(map(_is_strided, tensors))
        if torch.is_grad_enabled() or not plain or needs_dispatcher(*tensors):
            return self._guarded(*args, **kwargs)
        given = form((), tuple(leaves))
        key = (given, structure, _shared(tensors), self._model.training)
        if given is None or (key in self._found and self._found[key] is None):
            return self._guarded(*args, **kwargs)
        shortcut = self._found.get(key)
        if shortcut is None:
            return self._first(key, leaves, args, kwargs)
        if not shortcut.planned.lock.acquire(blocking=False):  # another thread is in the plan
            return self._guarded(*args, **kwargs)
        try:
            return shortcut(leaves)
        finally:
            shortcut.planned.lock.release()

    @staticmethod
    def _flattened(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Any]:
        """All values given, and what tells how; tree_flatten's, but that arguments by place are not looked into."""
        if kwargs or not all(type(value) is Tensor or isinstance(value, _VALUES) for value in args):
            return tree_flatten((args, kwargs))
        return list(args), len(args)

    def _first(self, key: Any, leaves: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from torch._dynamo.exc import TorchDynamoException  # here, not on import: it brings Triton along

        while len(self._found) >= _KEPT:
            del self._found[next(iter(self._found))]
        runs: list[Run] = []
        token = on_run.set(runs.append)
        try:
            result = self._whole(*args, **kwargs)
        except TorchDynamoException as error:
            self._found[key], self.obstacle = None, str(error).partition("\n")[0]
            return self._guarded(*args, **kwargs)
        finally:
            on_run.reset(token)
        self._found[key] = self._made(runs, leaves, result)
        return result

    def _made(self, runs: list[Run], leaves: list[Any], result: Any) -> _Shortcut | None:
        if len(runs) != 1:
            self.obstacle = f"{len(runs)} plans ran in one call"
            return None
        (run,) = runs
        place = {id(leaf): i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)}
        of_model = {id(t) for t in (*self._model.parameters(), *self._model.buffers())}
        is_leaf = [id(value) in place for value in run.inputs]
        for value, leaf in zip(run.inputs, is_leaf, strict=True):
            if isinstance(value, Tensor) and not leaf and id(value) not in of_model:
                self.obstacle = "the graph reads a tensor that is neither an argument nor of the model"
                return None
        made = {id(output): i for i, output in enumerate(tree_leaves(run.outputs))}
        ends, structure = tree_flatten(result)
        outputs = [made.get(id(end)) for end in ends]
        for end, number in zip(ends, outputs, strict=True):
            if number is None and not isinstance(end, (type(None), bool, int, float, str)):
                self.obstacle = f"a {type(end).__name__} in the result is no output of the graph"
                return None
        inputs = [
            place[id(value)] if leaf else value for value, leaf in zip(run.inputs, is_leaf, strict=True)
        ]
        constants = [end if number is None else None for end, number in zip(ends, outputs, strict=True)]
        return _Shortcut(run.planned, run.plan, inputs, is_leaf, outputs, constants, structure)


def _is_strided(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided


def _shared(tensors: list[Tensor]) -> tuple[int, ...]:
    """Which tensors are the same one, or of one memory: Dynamo makes one input of them, or guards on it."""
    if len(tensors) < 2:
        return ()
    first: dict[int, int] = {}
    places = [first.setdefault(id(tensor), i) for i, tensor in enumerate(tensors)]
    memories = [first.setdefault(tensor.untyped_storage()._cdata, i) for i, tensor in enumerate(tensors)]
    return (*places, *memories)
