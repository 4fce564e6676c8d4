"""What a network does with the point at which it is asked for its gradient, call by call.

PyTorch runs the network and records its graph as ever; beside it the recorder keeps, in order, the calls that depend on
the point, with what their tangent rules read. Weights are what enters them and does not depend on the point, whether a
parameter, an embedding of a label or what spectral norm made of a parameter: autograd takes their gradients on. The
network's graph sees aliases of them, at which it ends: one weight may have been made of another.
"""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.weak import WeakTensorKeyDictionary

from genfuse.errors import UnsupportedError
from genfuse.penalties.activation import Activation
from genfuse.penalties.convolution import Convolution
from genfuse.penalties.places import names_of, place
from genfuse.penalties.problem import Problem
from genfuse.penalties.rules import COMPOSITIONS, RULES
from genfuse.penalties.rules.rule import Refused, Rule, Run, Use

ADVICE = 'compose it of what has a rule, or pass fallback="autograd" for double backward'


_EDITED = -1
"""The version of a tensor in whose place something else is meant."""


class Value:
    """A tensor that depends on the point: its place in autograd's graph, its adjoint and its tangent."""

    __slots__ = ("adjoint", "dtype", "edge", "readers", "shape", "tangent", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.edge: GradientEdge = get_gradient_edge(tensor)
        self.shape, self.dtype, self.version = tensor.shape, tensor.dtype, tensor._version
        self.adjoint: Tensor | None = None
        self.tangent: Tensor | None = None
        self.readers = 0
        """inputs of calls whose tangents are yet to come"""

    def is_spare(self) -> bool:
        """Whether the tangent is its memory's only tensor, all of it, and for one reader yet."""
        if self.readers != 1 or self.tangent is None:
            return False
        alone = _sharers(self.tangent) == _sharers_of_one()
        return alone and self.tangent.untyped_storage().nbytes() == self.tangent.nbytes

    def has_been_read(self) -> None:
        """Once; by the last reader the tangent goes."""
        self.readers -= 1
        if self.readers == 0:
            self.tangent = None


def _sharers(tensor: Tensor) -> int:
    """How many tensors, and Python's own object beside them, hold a tensor's memory."""
    count: int = torch._C._storage_Use_Count(tensor.untyped_storage()._cdata)
    return count


@cache
def _sharers_of_one() -> int:
    return _sharers(torch.empty(1, device="cpu"))


class Kept(NamedTuple):
    """A tensor, and how often it had been edited when it was kept."""

    tensor: Tensor
    version: int

    @classmethod
    def of(cls, tensor: Tensor, use: Use) -> Kept:
        kept = tensor.detach() > 0 if use == "sign" else tensor
        return cls(kept, kept._version)

    def read(self, place: str) -> Tensor:
        """UnsupportedError where it has been edited since."""
        if self.tensor._version != self.version:
            raise UnsupportedError(f"{place}: what it read was edited in place afterwards; edit a copy")
        return self.tensor.detach()


class Input(NamedTuple):
    """In the place of an argument that depends on the point."""

    value: Value
    primal: Kept | None


class Weight(NamedTuple):
    """What enters a call and does not depend on the point, but has a gradient."""

    own: Tensor
    alias: Tensor
    """a leaf in the same memory"""


class Autocast(NamedTuple):
    """The state of autocast in which a call ran."""

    device: str
    enabled: bool
    dtype: torch.dtype

    @classmethod
    def now(cls, device: str) -> Autocast:
        return cls(device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))


@dataclass
class Call:
    """A call on the way from the point to the output."""

    rule: Rule
    function: Callable[..., Any]
    args: tuple[Any, ...]
    """with an `Input` for each tensor that depends on the point, and the weights' aliases"""
    kwargs: dict[str, Any]
    use: Use
    """of the inputs"""
    result: Any
    """None where the rule does not use it, `Kept` where it is one tensor"""
    outputs: list[Value | None]
    """of its tensors; None for those without a gradient"""
    autocast: Autocast
    place: str

    @property
    def curved(self) -> bool:
        """Whether the tangent depends on primal values, which depend on the weights below."""
        return "curved" in (self.use, self.rule.result)

    @cached_property
    def inputs(self) -> list[Input]:
        """In the places of its arguments."""
        found: list[Input] = []

        def look(leaf: Any) -> None:
            if isinstance(leaf, Input):
                found.append(leaf)

        mapped((self.args, self.kwargs), look)
        return found

    @property
    def differentiated(self) -> bool:
        """Whether the tangent may depend on anything that depends on weights."""
        return self.curved or any(t.requires_grad for t in tensors((self.args, self.kwargs)))


def tensors(tree: Any) -> list[Tensor]:
    """Those in nested tuples, lists and dicts, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (tuple, list)):
        return []
    return [tensor for part in tree if isinstance(part, _TREES) for tensor in tensors(part)]


_TREES = (Tensor, tuple, list, dict)
"""What may hold a tensor."""


def mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """Nested tuples, lists and dicts with `change` of each leaf; named tuples other than `Input` become tuples."""
    if isinstance(tree, Input):
        return change(tree)
    if isinstance(tree, (tuple, list)):
        parts = [mapped(part, change) for part in tree]
        return parts if isinstance(tree, list) else tuple(parts)
    if isinstance(tree, dict):
        return {name: mapped(part, change) for name, part in tree.items()}
    return change(tree)


class Recorder(TorchFunctionMode):
    """Inside the `with` block, calls that depend on `point` are recorded.

    network   what runs there, whose modules errors name; `name` is the user's word for it
    kernels   from a call to what runs in its place

    UnsupportedError for a call that has no rule, naming the module of `network` that made it.
    """

    def __init__(
        self, point: Tensor, network: Callable[..., Any], name: str, kernels: Callable[[Run], Run]
    ) -> None:
        super().__init__()
        self._name, self._kernels = name, kernels
        self.point = Value(point)
        self.calls: deque[Call] = deque()
        self.weights: dict[int, Weight] = {}
        """that entered the calls, by their own id"""
        self._values = WeakTensorKeyDictionary({point: self.point})
        self._activations: MutableMapping[Tensor, Activation] = WeakTensorKeyDictionary()
        """what made a tensor, where our kernels did"""
        self._independent: set[Node] = set()
        self._names = names_of(network)

    def value_of(self, tensor: Tensor) -> Value | None:
        """None for a tensor that does not depend on the point."""
        value: Value | None = self._values.get(tensor)
        if value is None:
            self._check_independent(tensor)
        elif tensor._version != value.version:
            raise UnsupportedError(
                f"{self._place()} reads what was edited in place, as or through a view or under no_grad; edit a copy"
            )
        return value

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = tensors((args, kwargs))
        live = [tensor for tensor in given if tensor in self._values]
        if not live or not torch.is_grad_enabled():
            for tensor in given if torch.is_grad_enabled() else ():
                self._check_independent(tensor)
            return function(*args, **kwargs)
        compose = COMPOSITIONS.get(function)
        if compose is not None:
            try:
                with self:
                    return compose(function, *args, **kwargs)
            except Refused as error:
                raise UnsupportedError(f"{self._place()}: {error}") from None
        rule = RULES.get(function)
        is_view = given[0] in self._values and given[0]._is_view()
        if is_view and rule is not None and rule.is_in_place(function, args, kwargs):
            return self._instead_of_an_edit(rule, function, args, kwargs)
        try:
            function, args, kwargs = self._kernels(Run(function, args, kwargs))
        except UnsupportedError as error:
            raise UnsupportedError(f"{self._place()}: {error}") from None
        before = [tensor._version for tensor in given]
        call = None if rule is None else self._begun(rule, function, args, kwargs, given)
        if call is not None:
            args, kwargs = mapped(args, self._aliased), mapped(kwargs, self._aliased)
        if isinstance(function, Convolution):
            x, weight, bias = args
            result = function.in_network(x, weight, bias, self._activations.get(x))
        else:
            result = function(*args, **kwargs)
        edited = before != [tensor._version for tensor in given]
        same = any(result is argument for argument in tensors((args, kwargs)))
        if not edited and (same or not any(tensor.requires_grad for tensor in tensors(result))):
            for unread in () if call is None else call.inputs:
                unread.value.has_been_read()
            return self._own(result)
        if call is None:
            name = resolve_name(function) or getattr(function, "__name__", repr(function))
            raise UnsupportedError(f"{self._place()} calls {name}, which has no tangent rule; {ADVICE}")
        self._finish(call, result)
        return result

    def _instead_of_an_edit(
        self, rule: Rule, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Of a view, whose place in autograd's graph an edit would take away: what the call returns, in new memory.

        The view and all that share its memory count as edited: who reads them afterwards gets an error.
        """
        memory = args[0].untyped_storage().data_ptr()
        function, args, kwargs = rule.out_of_place(function, args, kwargs)
        with self:
            result = function(*args, **kwargs)
        for tensor, value in self._values.items():
            if tensor.untyped_storage().data_ptr() == memory:
                value.version = _EDITED
        return result

    def _begun(
        self, rule: Rule, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: list[Tensor]
    ) -> Call:
        """Before the call, which may edit what it reads."""
        place, is_in_place = self._place(), rule.is_in_place(function, args, kwargs)
        values = {id(tensor): self.value_of(tensor) for tensor in given}
        if is_in_place and values[id(given[0])] is None and given[0].requires_grad:
            raise UnsupportedError(
                f"{place} edits a weight in place by what depends on the input; edit a copy"
            )
        for tensor in given:
            if values[id(tensor)] is None and tensor.requires_grad and id(tensor) not in self.weights:
                self.weights[id(tensor)] = Weight(tensor, tensor.detach().requires_grad_())
        use = rule.inputs([values[id(tensor)] is not None for tensor in given])

        def kept(argument: Any) -> Any:
            value = values.get(id(argument)) if isinstance(argument, Tensor) else None
            if value is None:
                return self._aliased(argument)
            value.readers += 1
            if use == "unused":
                return Input(value, None)
            copied = is_in_place and use != "sign"
            return Input(value, Kept.of(argument.detach().clone() if copied else argument, use))

        if rule.couples(*args, **kwargs):
            warn_of_coupling(place)
        autocast = Autocast.now(given[0].device.type)
        return Call(rule, function, mapped(args, kept), mapped(kwargs, kept), use, None, [], autocast, place)

    def _aliased(self, argument: Any) -> Any:
        weight = self.weights.get(id(argument))
        return argument if weight is None else weight.alias

    def _own(self, result: Any) -> Any:
        """What a call gave back as it got it."""
        aliased = (weight.own for weight in self.weights.values() if weight.alias is result)
        return next(aliased, result) if isinstance(result, Tensor) and result.is_leaf else result

    def _finish(self, call: Call, result: Any) -> None:
        """Behind the call."""
        for tensor in tensors(result):
            value = Value(tensor) if tensor.requires_grad else None
            call.outputs.append(value)
            if value is not None:
                self._values[tensor] = value
        if isinstance(call.function, Activation):
            self._activations[result] = call.function
            call.result = Kept.of(call.function.mask, "constant")
        elif call.rule.result != "unused":
            call.result = Kept.of(result, call.rule.result) if isinstance(result, Tensor) else result
        self.calls.append(call)

    def _check_independent(self, tensor: Tensor) -> None:
        """UnsupportedError where autograd knows a way from the point to the tensor that was not recorded."""
        nodes = [tensor.grad_fn]
        while nodes:
            node = nodes.pop()
            if node is self.point.edge.node and tensor.grad_fn is not None:
                raise UnsupportedError(
                    f"{self._place()} reads what {tensor.grad_fn.name()} made of the input, which has no tangent rule; "
                    f"{ADVICE}"
                )
            if node is not None and node not in self._independent:
                self._independent.add(node)
                nodes += [before for before, _ in node.next_functions]

    def _place(self) -> str:
        """The innermost module of the network that is running; of a function, the innermost one that it called."""
        frame: FrameType | None = sys._getframe(1)
        selves = []
        while frame is not None and frame.f_code is not Problem.output.__code__:
            selves.append(frame.f_locals.get("self"))
            frame = frame.f_back
        return place(selves if frame is not None else (), self._names, self._name)


_warned = False


def warn_of_coupling(place: str) -> None:
    """Once a process."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"{place} reduces over the first axis: where that is the batch, a sample's score depends on the others, "
            "and so does the norm of its gradient; the penalty and its gradient are exact all the same",
            stacklevel=2,
        )
