"""What a tangent rule is, and the functions that have one.

A rule is the derivative of one function of PyTorch along a tangent, derived by hand and written in differentiable ops
of primal, tangent and weights. PyTorch's own forward mode is not used: below layer and instance norm its result has
lost the dependence on the primal.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.errors import UnsupportedError

Use = Literal["unused", "sign", "constant", "curved"]
"""How a tangent depends on a primal: not at all; by where it is positive, which is all that is kept then; piecewise
constantly, so that it passes no gradient on; or by its value.
"""

Live = Sequence[bool]
"""Of the tensors among a call's arguments in turn, whether they depend on the point."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Dual(NamedTuple):
    """A tensor that depends on the point, and its derivative along the direction."""

    primal: Tensor
    """absent (None) where the rule does not use it, bool where it uses the sign"""
    tangent: Tensor


class Called(NamedTuple):
    """What a rule may know beside the arguments."""

    function: Callable[..., Any]
    result: Tensor
    """a tuple where the function returns several; otherwise as a primal"""
    is_spare: bool
    """whether the memory of the only tangent may be written to"""
    adjoint: Tensor | None = None
    """of the only result, where the tangent will be differentiated with it, and with nothing else"""


class Refused(UnsupportedError):
    """What a composition says of arguments that it does not take; the recorder names the module."""


class Run(NamedTuple):
    """A call: what runs, and of what."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Rule(NamedTuple):
    """How the tangent of a call's result comes from those of its arguments.

    `tangent(called, *args, **kwargs)` gets the call's own arguments, with a `Dual` for each tensor that depends on the
    point. Its result may be of a shape that broadcasts to the primal result's.
    """

    tangent: Callable[..., Any]
    inputs: Callable[[Live], Use]
    """the use of the arguments that depend on the point"""
    result: Use
    """the use of the primal result"""
    wide: bool
    """half precision is computed in float32"""
    couples: Callable[..., bool]
    """whether a call of these arguments mixes the samples of a batch"""
    inplace: int | None
    """the place among the arguments of the flag that PyTorch has for functions that may edit their first"""

    def is_in_place(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether the call edits its first argument."""
        name: str = getattr(function, "__name__", "")
        if self.inplace is not None and len(args) > self.inplace:
            return bool(args[self.inplace])
        return bool(kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__"))

    def out_of_place(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The same call without an edit."""
        name: str = function.__name__
        if not name.endswith("_"):
            return function, args[: self.inplace], {**kwargs, "inplace": False}
        plain = next(getattr(room, name[:-1]) for room in (Tensor, F) if hasattr(room, name[:-1]))
        return plain, args, kwargs


RULES: dict[Any, Rule] = {}
"""By function, as PyTorch hands it to a `TorchFunctionMode`."""

COMPOSITIONS: dict[Any, Callable[..., Any]] = {}
"""Functions that are composed of others, which have rules: `composition(function, *args, **kwargs)`."""


def always(use: Use) -> Callable[[Live], Use]:
    """The same use whichever arguments depend on the point."""
    return lambda live: use


def of_product(live: Live) -> Use:
    """A product's tangent depends on a factor only where another one is live too."""
    return "curved" if sum(live) > 1 else "unused"


def never(*args: Any, **kwargs: Any) -> bool:
    """No call mixes samples."""
    return False


def rule(
    *functions: Any,
    inputs: Use | Callable[[Live], Use] = "unused",
    result: Use = "unused",
    wide: bool | None = None,
    couples: Callable[..., bool] = never,
) -> Callable[[_Function], _Function]:
    """Decorator: the tangent rule of these functions, or of all that PyTorch has under these names."""
    use = inputs if callable(inputs) else always(inputs)
    curved = "curved" in (inputs, result)

    def register(tangent: _Function) -> _Function:
        names = list(inspect.signature(tangent).parameters)[1:]  # behind `called`
        inplace = names.index("inplace") if "inplace" in names else None
        made = Rule(tangent, use, result, curved if wide is None else wide, couples, inplace)
        RULES.update((function, made) for function in _resolved(functions))
        return tangent

    return register


def composition(*functions: Any) -> Callable[[_Function], _Function]:
    """Decorator: what these functions are composed of."""

    def register(compose: _Function) -> _Function:
        COMPOSITIONS.update((function, compose) for function in _resolved(functions))
        return compose

    return register


def _resolved(functions: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for function in functions:
        if not isinstance(function, str):
            found.append(function)
            continue
        named: list[Any] = [getattr(room, function, None) for room in (torch, Tensor, F)]
        named = [one.__get__ if _is_property(one) else one for one in named]
        usable = [one for one in named if callable(one)]
        assert usable, f"PyTorch has no function {function}"
        found += usable
    return found


def _is_property(found: Any) -> bool:
    """`Tensor.T` and its like reach a mode as their getter."""
    return type(found).__name__ == "getset_descriptor"
