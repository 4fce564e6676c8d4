"""A network's calls, recorded for the forms of its inputs that it is exported with."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from genfuse import dispatch
from genfuse.errors import UnsupportedError
from genfuse.rewrite import glue, optimize
from genfuse.rewrite.plan import Plan, Planned, Run, on_left, on_run

Example = Tensor | Sequence[Any] | Mapping[str, Any]
"""Arguments of one call: a tensor, several in order, or by name."""


@dataclass
class Recorded:
    """One form: its plan, its inputs by name as they lie in the plan's memory, and the outputs of the recorded run."""

    plan: Plan
    inputs: dict[str, tuple[Tensor, Tensor]]  # in the plan's memory, and as given
    outputs: list[tuple[Tensor, Tensor]]  # likewise, and as returned


def record(module: nn.Module, examples: Sequence[Example]) -> list[Recorded]:
    """The module's calls as they are, or where some would be left to PyTorch, those of the optimised module.

    UnsupportedError where some are left then too, naming each.
    """
    forms = [_bound(module, example) for example in examples]
    with torch.no_grad(), _all_glue(), dispatch.backend(reproducible=True):
        try:
            return [_recorded(module, form) for form in forms]
        except _Left as left:
            if not left.may_be_fused or _is_optimised(module):
                raise
        fused = optimize(module)
        return [_recorded(fused, form) for form in forms]


class _Left(UnsupportedError):
    """Calls that only PyTorch has."""

    def __init__(self, calls: Counter[str]) -> None:
        named = ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in calls.items())
        super().__init__(f"the network cannot be exported: calls that only PyTorch has are left: {named}")
        self.may_be_fused = any(part in name for name in calls for part in _FUSED)


_FUSED = ("convolution", "addmm", "mm.", "norm", "attention")
"""Of PyTorch's calls that `optimize` may find a place for."""


def _is_optimised(module: nn.Module) -> bool:
    return hasattr(type(module), "_original")


@contextmanager
def _all_glue() -> Iterator[None]:
    token = glue.everything.set(True)
    try:
        yield
    finally:
        glue.everything.reset(token)


def _bound(module: nn.Module, example: Example) -> dict[str, Any]:
    """The example's arguments by the names of the module's forward."""
    if isinstance(example, Tensor):
        example = (example,)
    form = inspect.signature(module.forward)
    try:
        bound = form.bind(**example) if isinstance(example, Mapping) else form.bind(*example)
    except TypeError as error:
        raise TypeError(
            f"example_inputs do not fit {type(module).__name__}.forward{form}: {error}"
        ) from error
    return dict(bound.arguments)


def _recorded(module: nn.Module, form: dict[str, Any]) -> Recorded:
    runs: list[Run] = []
    left: Counter[str] = Counter()
    names = {each: name for name, each in module.named_modules()}

    def tell(function: Any) -> None:
        left[f"{function}{_running(names)}"] += 1

    call: Callable[..., Any] = module if _is_optimised(module) else Planned(module)
    tokens = on_run.set(runs.append), on_left.set(tell)
    try:
        result = call(**form)
    finally:
        on_run.reset(tokens[0])
        on_left.reset(tokens[1])
    if isinstance(call, Planned) and not runs:
        raise UnsupportedError(f"the network cannot be exported: {call.obstacle}")
    if len(runs) != 1:
        raise UnsupportedError(
            f"the network cannot be exported: its forward is {len(runs)} graphs with Python between them, "
            "expected one; torch.compile(model, fullgraph=True) says where it breaks"
        )
    if left:
        raise _Left(left)
    return _matched(runs[0], form, result)


def _matched(run: Run, form: dict[str, Any], result: Any) -> Recorded:
    """The plan's inputs and outputs as those of the call."""
    inputs: dict[str, tuple[Tensor, Tensor]] = {}
    for held, given in zip(run.plan.inputs, run.inputs, strict=True):
        if held is not None:
            names = [name for name, value in form.items() if value is given]
            if not names:
                raise UnsupportedError(
                    "the network cannot be exported: it takes tensors inside other objects"
                )
            inputs[names[0]] = held, given
    made = [leaf for leaf in tree_leaves(run.outputs) if isinstance(leaf, Tensor)]
    held_outputs = [leaf for leaf in run.plan.outputs if isinstance(leaf, Tensor)]
    outputs = []
    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor):
            place = next((i for i, each in enumerate(made) if each is leaf), None)
            if place is None:
                raise UnsupportedError("the network cannot be exported: an output is made outside its graph")
            outputs.append((held_outputs[place], leaf))
    if not outputs:
        raise UnsupportedError("the network cannot be exported: it returns no tensor")
    if any(run.plan.edited):
        raise UnsupportedError("the network cannot be exported: it edits its inputs in place")
    return Recorded(run.plan, inputs, outputs)


def _running(names: Mapping[nn.Module, str]) -> str:
    """The name of the innermost module whose forward is running; hooks would change what runs."""
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if frame.f_code.co_name == "forward" and isinstance(owner, nn.Module) and names.get(owner):
            return f" in {names[owner]}"
        frame = frame.f_back
    return ""
