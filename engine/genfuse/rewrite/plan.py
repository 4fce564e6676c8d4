"""A network's forward pass as one plan: recorded once, then repeated without Python between the kernels.

The first call runs as it is, under a dispatch mode that sees every PyTorch call. Calls of genfuse's kernels are
recorded with their addresses, views need nothing, and every other call is kept and made again, its result copied to
where the kernels behind it read. Results live in a pool of buffers that are reused when nothing reads them any more.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from genfuse import dispatch, env, registry
from genfuse.ops.library import needs_dispatcher
from genfuse.ops.memory import allocated_by, empty_like
from genfuse.rewrite.glue import duplicate, everything, glued
from genfuse.rewrite.pool import Pool
from genfuse_kernels.common import packed_weights, widened

_PLANS_KEPT = 8
_READS_VALUES = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


@dataclass
class _Call:
    """A call of PyTorch's own, made again in every run; its results are copied to `targets`, None where in place."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    targets: list[Tensor | None]
    packs: bool = False
    """Whether its weights are other ones in every run, and have to be packed."""

    def run(self) -> None:
        with packed_weights.anew() if self.packs else nullcontext():
            results = tree_leaves(self.function(*self.args, **self.kwargs))
        for target, result in zip(self.targets, results, strict=True):
            if target is not None:
                target.copy_(result)


@dataclass(slots=True)
class _Weight:
    """A tensor that is the same in every run. The plan shares its memory; whether the tensor lives is the model's."""

    owner: Callable[[], Tensor | None]
    memory: Tensor
    address: int
    version: int | None = None
    """of one that was packed"""

    def is_current(self) -> bool:
        owner = self.owner()
        if owner is None or owner.data_ptr() != self.address:
            return False
        return self.version is None or packed_weights.version(owner) == self.version


@dataclass
class Plan:
    """What one call did, repeatable for other values of its inputs."""

    program: Any
    pool: Pool
    reproducible: bool = True
    inputs: list[Tensor | None] = field(default_factory=list)  # where values are copied; None: as recorded
    edited: list[bool] = field(default_factory=list)  # inputs that the network changes in place
    steps: list[_Call | tuple[int, int]] = field(default_factory=list)  # a range of the program's calls
    outputs: list[Any] = field(default_factory=list)  # leaves
    structure: Any = None
    weights: dict[int, _Weight] = field(default_factory=dict)  # by id
    held: list[Tensor] = field(default_factory=list)  # packed weights, and what is the same in every run
    sources: dict[int, Tensor] = field(default_factory=dict)  # by the address of what was made of one weight

    def is_current(self) -> bool:
        """Whether all weights are where and what they were."""
        for weight in self.weights.values():
            if not weight.is_current():
                return False
        unchanged: bool = self.program.unchanged()
        return unchanged

    def run(self, inputs: tuple[Any, ...]) -> Any:
        """The outputs, in memory of their own."""
        return tree_unflatten(self.run_leaves(inputs), self.structure)

    def run_leaves(self, inputs: tuple[Any, ...]) -> list[Any]:
        """The leaves of the outputs."""
        # Made before the kernels drive PyTorch's code from the caches: behind them it takes ten times as long.
        fresh = [empty_like(leaf) if isinstance(leaf, Tensor) else leaf for leaf in self.outputs]
        for target, given in zip(self.inputs, inputs, strict=True):
            if target is not None:
                target.copy_(given)
        with nullcontext() if self.reproducible else dispatch.backend(reproducible=False):
            for step in self.steps:
                if isinstance(step, tuple):
                    self.program.run(*step)
                else:
                    step.run()
        self.hand_back(inputs)
        for to, leaf in zip(fresh, self.outputs, strict=True):
            if isinstance(leaf, Tensor):
                duplicate(to, leaf)
        return fresh

    def hand_back(self, inputs: tuple[Any, ...]) -> None:
        """What the network did to its inputs."""
        for target, given, edited in zip(self.inputs, inputs, self.edited, strict=True):
            if edited and target is not None:
                given.copy_(target)


@dataclass
class Run:
    """One call that went through a plan."""

    planned: Planned
    plan: Plan
    inputs: tuple[Any, ...]
    outputs: Any


on_run: ContextVar[Callable[[Run], None] | None] = ContextVar("genfuse_on_run", default=None)
"""Told of every call that goes through a plan."""
on_left: ContextVar[Callable[[Any], None] | None] = ContextVar("genfuse_on_left", default=None)
"""Told, while a plan is made, of every call that stays PyTorch's."""


class Planned:
    """`function` of tensors and constants, by a plan for each form of its inputs, under `torch.no_grad()`.

    A plan goes when one of the parameters that it reads does: Dynamo keeps what it compiled, longer than the model.

    The function may depend on the inputs' values through tensors alone. With gradients enabled, under other dispatch
    modes, and while another thread is in a plan, the function itself runs.
    """

    def __init__(self, function: Callable[..., Any], never: str | None = None) -> None:
        """`never` says why no call may be planned, where that is known."""
        self._function, self._is_plannable = function, never is None
        self._plans: dict[Any, Plan | None] = {}  # None: cannot be planned
        self.lock = threading.Lock()
        """Of whoever runs a plan."""
        self.frozen = False
        """Whether weights are taken to stay as they are, without a look at them."""
        self.obstacle = never
        """Why the last form of inputs had no plan."""

    @property
    def nbytes(self) -> int:
        """Memory that the plans hold."""
        return sum(plan.pool.nbytes for plan in list(self._plans.values()) if plan is not None)

    def clear(self) -> None:
        """Forget all plans."""
        self._plans.clear()  # without the lock: a garbage collection may be what calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        values = (*args, *kwargs.values())
        tensors = [value for value in values if type(value) is Tensor]
        on_cpu = all(tensor.device.type == "cpu" for tensor in tensors) and env.backend_missing("cpu") is None
        plain = self._is_plannable and not torch.is_grad_enabled() and not needs_dispatcher(*tensors)
        if not (on_cpu and tensors and plain) or not self.lock.acquire(blocking=False):
            return self._function(*args, **kwargs)
        names = tuple(kwargs)

        def function(*inputs: Any) -> Any:
            named = zip(names, inputs[len(args) :], strict=True)
            return self._function(*inputs[: len(args)], **dict(named))

        try:
            return self._planned(function, names, values)
        finally:
            self.lock.release()

    def _planned(self, function: Callable[..., Any], names: tuple[str, ...], inputs: tuple[Any, ...]) -> Any:
        key = form(names, inputs)
        if key is None:
            return function(*inputs)
        if key in self._plans:
            plan = self._plans.get(key)
            if plan is None:
                return function(*inputs)
            if self.frozen or plan.is_current():
                return self._told(plan, inputs, plan.run(inputs))
            self._plans.pop(key, None)
        while len(self._plans) >= _PLANS_KEPT:
            self._plans.pop(next(iter(self._plans)), None)
        plan, result, obstacle = _recorded(function, inputs, _forgetting(weakref.ref(self), key))
        if obstacle is not None:
            self._plans[key], self.obstacle = None, obstacle
            return result
        self._plans[key] = plan
        return self._told(plan, inputs, result)

    def _told(self, plan: Plan, inputs: tuple[Any, ...], outputs: Any) -> Any:
        tell = on_run.get()
        if tell is not None:
            tell(Run(self, plan, inputs, outputs))
        return outputs


def _forgetting(planned: Callable[[], Planned | None], key: Any) -> Callable[[Any], None]:
    """What to do when a parameter of this plan is gone."""

    def forget(_: Any) -> None:
        there = planned()
        if there is not None:
            there._plans.pop(key, None)

    return forget


def lasts(value: Any) -> bool:
    """Whether a tensor is of a model, and the same one in every call: a parameter, or what Dynamo knows as a buffer."""
    return isinstance(value, Parameter) or getattr(value, "_dynamo_static_input_type", None) is not None


def form(names: tuple[str, ...], inputs: tuple[Any, ...]) -> Any:
    """What a plan is made for: weights by identity, other tensors by form; None for what cannot be told apart, and
    where an op may run a kernel of the user's, which no plan holds, or is traced.
    """
    from genfuse_kernels import _cpu

    if not registry.is_empty() or dispatch.is_observed():
        return None

    forms: list[Any] = []
    for value in inputs:
        kind = type(value)
        if kind in (Tensor, Parameter) and lasts(value):
            forms.append(id(value))
        elif kind is Tensor:
            forms.append((value.shape, value.stride(), value.dtype))
        elif isinstance(value, Tensor):
            return None  # a subclass with ways of its own
        else:
            forms.append((kind, value))
    given = (names, tuple(forms))
    try:
        hash(given)
    except TypeError:
        return None
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
    return (
        given,
        torch.get_num_threads(),
        _cpu.isa(),
        dispatch.forced(),
        dispatch.is_strict(),
        dispatch.is_reproducible(),
        autocast,
        torch.is_inference_mode_enabled(),
    )


def _recorded(
    function: Callable[..., Any], inputs: tuple[Any, ...], forget: Callable[[Any], None]
) -> tuple[Plan, Any, str | None]:
    """The plan, the outputs of this first run, and why the plan is of no use, if it is not."""
    from genfuse_kernels import _cpu

    plan = Plan(_cpu.Program(), Pool(), dispatch.is_reproducible())
    given: list[Any] = []
    recorder = _Recorder(plan, forget)
    for value in inputs:
        static = plan.pool.like(value).copy_(value) if type(value) is Tensor and not lasts(value) else None
        plan.inputs.append(static)  # held, and so never given out again
        given.append(value if static is None else static)
        if static is not None:
            plan.pool.track(static)
        elif isinstance(value, Tensor):
            recorder.reads(value)
    of_weights = packed_weights.on_use.set(recorder.packed)
    of_others = widened.on_made.set(plan.held.append)
    try:
        with recorder:
            outputs = function(*given)
    finally:
        packed_weights.on_use.reset(of_weights)
        widened.on_made.reset(of_others)
    plan.edited = [
        static is not None and static.untyped_storage().data_ptr() in recorder.edited
        for static in plan.inputs
    ]
    plan.hand_back(inputs)
    leaves, plan.structure = tree_flatten(outputs)
    plan.outputs = [_alias(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    return plan, tree_map_only(Tensor, torch.clone, outputs), recorder.obstacle


class _Recorder(TorchDispatchMode):
    def __init__(self, plan: Plan, forget: Callable[[Any], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._plan, self._forget = plan, forget
        self._watched: set[tuple[int, int]] = set()
        self._constant: set[int] = set()  # storages
        self.edited: set[int] = set()
        """Storages that some call changed in place."""
        self.obstacle: str | None = None
        """Why the calls cannot be repeated; nothing is recorded from then on."""
        self._in_call = self._packs = False
        """Whether a call is being made, and whether it packed weights that are other ones in every run."""

    def packed(self, weights: tuple[Tensor, ...], made: Tensor | tuple[Tensor, ...]) -> None:
        """A kernel is given what was made of these weights."""
        plan = self._plan
        if any(map(plan.pool.has, weights)):
            self._packs = True
            if not self._in_call:
                self.obstacle = "weights are put together that are computed in every call"
            return
        plan.held += tree_leaves(made)
        if len(weights) == 1 and isinstance(made, Tensor):
            plan.sources[made.data_ptr()] = _alias(weights[0])
        for weight in weights:
            owner = self.reads(weight)
            if owner.version is None:
                owner.version = packed_weights.version(weight)
            memory = (weight.data_ptr(), packed_weights.memory_bytes(weight))
            if memory not in self._watched:
                self._watched.add(memory)
                plan.program.watch(*memory)

    def reads(self, tensor: Tensor) -> _Weight:
        """The plan reads this tensor's memory, or that of the weight that it is a view of, in every run."""
        owner: Tensor = tensor._base if tensor._is_view() and tensor._base is not None else tensor
        known = self._plan.weights.get(id(owner))
        if known is None:
            to_owner = weakref.ref(owner, self._forget) if lasts(owner) else lambda: owner
            known = self._plan.weights[id(owner)] = _Weight(to_owner, owner.detach(), owner.data_ptr())
        return known

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        plan, pool = self._plan, self._plan.pool
        given = [leaf for leaf in tree_leaves((args, named)) if isinstance(leaf, Tensor)]
        read = {tensor.untyped_storage().data_ptr() for tensor in given}
        edited = _edited(func, args, named)
        self.edited |= edited
        constant = self._is_constant(func, read)
        if not _READS_VALUES.isdisjoint(func.tags) and not (constant and everything.get()):
            self.obstacle = f"{func._schema.name} reads values"
        elif not edited.isdisjoint(self._constant):
            self.obstacle = f"{func._schema.name} edits what is the same in every run"
        if self.obstacle is not None:
            return func(*args, **named)
        begin, self._packs = len(plan.program), False
        result = self._run(func, args, named, constant)
        leaves, form = tree_flatten(result)
        for tensor in given:
            if not pool.has(tensor):
                self.reads(tensor)
        fresh = [
            isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in read for leaf in leaves
        ]
        if self._is_native(begin, given):
            self._add_range(begin)
        elif constant:
            plan.held += (leaf for leaf, new in zip(leaves, fresh, strict=True) if new)
            self._constant |= {held.untyped_storage().data_ptr() for held in plan.held}
        else:
            plan.program.shorten(begin)
            leaves = [
                pool.like(leaf).copy_(leaf) if new and not pool.has(leaf) else leaf
                for leaf, new in zip(leaves, fresh, strict=True)
            ]
            if any(fresh) or (func._schema.is_mutable and not func.is_view):
                targets = [_alias(leaf) if new else None for leaf, new in zip(leaves, fresh, strict=True)]
                held_args, held_kwargs = tree_map_only(Tensor, _alias, (args, named))
                left = on_left.get()
                if left is not None:
                    left(func)
                plan.steps.append(_Call(func, held_args, held_kwargs, targets, self._packs))
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                pool.track(leaf)
        return form.unflatten(leaves)

    def _is_constant(self, func: Any, read: set[int]) -> bool:
        """Whether the result is the same in every run: a table of frequencies, say. It stays outside the pool.

        So is what is made of weights alone, where they are exported as they are now.
        """
        changes = func._schema.is_mutable or torch.Tag.nondeterministic_seeded in func.tags
        same = read <= self._constant or (everything.get() and not self._plan.pool.holds_any(read))
        return func.namespace != "genfuse" and not changes and same

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], constant: bool) -> Any:
        ours = func.namespace == "genfuse"
        result = None
        self._in_call = True
        self._plan.program.start()
        try:
            with allocated_by(self._plan.pool.empty):
                if ours:
                    result = func(*args, **kwargs)
                elif not constant:
                    result = glued(func, args, kwargs)
        finally:
            self._plan.program.stop()
            self._in_call = False
        return func(*args, **kwargs) if result is None and not ours else result

    def _is_native(self, begin: int, given: list[Tensor]) -> bool:
        """Whether the call was of kernels alone, and all that they read and wrote will be there again."""
        plan = self._plan
        if len(plan.program) == begin or self._packs:
            return False
        there = {tensor.data_ptr() for tensor in (*given, *plan.held)}
        return all(
            address in there or plan.pool.covers(address)
            for step in range(begin, len(plan.program))
            for address in plan.program.addresses(step)
        )

    def _add_range(self, begin: int) -> None:
        steps, end = self._plan.steps, len(self._plan.program)
        last = steps[-1] if steps else None
        if isinstance(last, tuple) and last[1] == begin:
            steps[-1] = (last[0], end)
        else:
            steps.append((begin, end))


def _alias(tensor: Tensor) -> Tensor:
    """The tensor as a plan may hold it: another object, for which neither a buffer nor a parameter lives longer."""
    return tensor.detach()


def _edited(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> set[int]:
    """Storages of what a call changes in place."""
    if not func._schema.is_mutable:
        return set()
    given = {
        **dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)),
        **kwargs,
    }
    return {
        tensor.untyped_storage().data_ptr()
        for argument in func._schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
        for tensor in tree_leaves(given.get(argument.name))
        if isinstance(tensor, Tensor)
    }
