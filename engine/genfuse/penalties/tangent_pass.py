"""The gradient of a gradient's directional derivative, by one pass of tangents.

With g = ∇ₓ Σ seed·D(x) and a direction v that is held fixed, t = v·g is the derivative of Σ seed·D along v. Let ẋ be
the tangents along v of all that D computes, and x̄ its adjoints from the data backward that gives g. A call y = f(x, w)
has the tangent ẏ = ḟ(x, ẋ, w), whose adjoint in t is ȳ: so the call's share of ∇t is the gradient of ȳ·ḟ(x, ẋ, w) by w
and by x. By w that is final. By x it goes on, through D's own graph, to the weights below; where no tangent depends on
a primal (convolutions, ReLU, LeakyReLU, pooling), there is nothing to go on with.

So a piecewise-linear D takes four passes of its convolutions: forward, data backward, tangents, gradients of weights;
one with curved activations or norms takes the backward of data and of weights besides.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.errors import UnsupportedError
from genfuse.penalties.convolution import Convolution
from genfuse.penalties.recorder import Autocast, Call, Input, Kept, Recorder, Value, mapped, tensors
from genfuse.penalties.rules.rule import Called, Dual

_HALF = (torch.bfloat16, torch.float16)


class TangentPass:
    """Of the output of a network that ran under a recorder.

    of_weights, of_point   which gradients are wanted
    """

    def __init__(self, recorder: Recorder, output: Tensor, *, of_weights: bool, of_point: bool) -> None:
        self._calls, self._point, self._output = recorder.calls, recorder.point, output
        self._aliases = [weight.alias for weight in recorder.weights.values()] if of_weights else []
        self._of_point = of_point
        self._reaches_point = of_point or any(map(_crashes_without_input, self._calls))
        self._by_weight: dict[int, Tensor] = {}
        """final shares, by the alias's id"""
        self._onwards: dict[Value, Tensor] = {}
        """shares of primal values, which go on to the weights below"""

    @property
    def is_wanted(self) -> bool:
        """Whether any gradient beside g is."""
        return self._of_point or bool(self._aliases)

    def data_gradient(self, seed: Tensor) -> Tensor:
        """g = ∇ₓ Σ seed·D, like the point; the adjoints that the tangents' gradients need are kept on the way."""
        read = [
            value
            for call in self._calls
            if self.is_wanted and call.differentiated
            for value in call.outputs
            if value is not None
        ]
        edges = [self._point.edge, *(value.edge for value in read)]
        keep = self.is_wanted and any(call.curved for call in self._calls)
        for call in () if keep else self._calls:
            if isinstance(call.function, Convolution):
                call.function.drop_reading()
        gradient, *adjoints = torch.autograd.grad(
            self._output, edges, seed, retain_graph=keep, allow_unused=True
        )
        del self._output
        for value, adjoint in zip(read, adjoints, strict=True):
            value.adjoint = adjoint
        return gradient

    def gradients(self, direction: Tensor) -> list[Tensor | None]:
        """Of t by the point and by each of the recorder's weights, None for 0. Once, after `data_gradient`."""
        self._point.tangent = direction
        while self._calls:
            self._advance(self._calls.popleft())
        if not self._of_point:
            self._onwards.pop(self._point, None)
        by_point = self._go_on()
        return [by_point, *(self._by_weight.get(id(alias)) for alias in self._aliases)]

    def _advance(self, call: Call) -> None:
        """Tangents of a call's outputs, and its shares of the gradients."""
        values = [value for value in call.outputs if value is not None]
        self._share_first(call)
        is_read = self.is_wanted and any(value.adjoint is not None for value in values)
        leaves = _Leaves(call, is_read)
        with torch.set_grad_enabled(is_read), _as_it_ran(call.autocast):
            made = _tangent(call, leaves.called(), leaves.args(), leaves.kwargs())
            tangents = [
                tangent.to(value.dtype).broadcast_to(value.shape)
                for tangent, value in zip(tensors(made), call.outputs, strict=False)  # places have none
                if value is not None
            ]
        for of, share in leaves.gradients(tangents, [value.adjoint for value in values]):
            if isinstance(of, Value):
                _add(self._onwards, of, share)
            else:
                _add(self._by_weight, id(of), share)
        for given in call.inputs:
            given.value.has_been_read()
        for value, tangent in zip(values, tangents, strict=True):
            value.tangent, value.adjoint = tangent.detach(), None

    def _share_first(self, call: Call) -> None:
        """The weight's share of a convolution on our kernels: so its adjoint is gone when the tangent comes."""
        of = call.function
        if not isinstance(of, Convolution) or any(isinstance(given, Input) for given in call.args[1:]):
            return
        (x, weight, _), (value,) = call.args, call.outputs
        if value is None or value.adjoint is None:
            return
        if weight.requires_grad:
            with torch.no_grad(), _as_it_ran(call.autocast):
                _add(self._by_weight, id(weight), of.weight_gradient(value.adjoint, x.value.tangent, weight))
        value.adjoint = None

    def _go_on(self) -> Tensor | None:
        """From primal values through the network's graph to the weights below, and to the point where it is wanted."""
        if not self._onwards:
            return None
        wanted: list[Any] = [self._point.edge] if self._reaches_point else []
        found = torch.autograd.grad(
            [value.edge for value in self._onwards],
            [*wanted, *self._aliases],
            list(self._onwards.values()),
            allow_unused=True,
        )
        for alias, share in zip(self._aliases, found[len(wanted) :], strict=True):
            if share is not None:
                _add(self._by_weight, id(alias), share)
        return found[0] if self._of_point else None


_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By number of axes."""


def _crashes_without_input(call: Call) -> bool:
    """PyTorch's backward of a channels-last group norm for the weight alone writes to no memory (2.13)."""
    if call.function is not F.group_norm:
        return False
    images = [given.primal.tensor for given in call.inputs if given.primal is not None]
    return any(
        image.ndim in _CHANNELS_LAST and image.is_contiguous(memory_format=_CHANNELS_LAST[image.ndim])
        for image in images
    )


def _tangent(call: Call, called: Called, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """By the call's rule. UnsupportedError, naming the module, where that does not take its arguments."""
    try:
        return call.rule.tangent(called, *args, **kwargs)
    except UnsupportedError as error:
        raise UnsupportedError(f"{call.place}: {error}") from None


_Key = TypeVar("_Key", Value, int)


def _add(sums: dict[_Key, Tensor], key: _Key, share: Tensor) -> None:
    sums[key] = sums[key] + share if key in sums else share


class _Leaves:
    """A call's arguments, of which the gradients are taken that its tangents have."""

    def __init__(self, call: Call, is_read: bool) -> None:
        self._call, self._is_read = call, is_read
        self._leaves: dict[int, tuple[Tensor, Tensor | Value]] = {}
        """by id: a weight may be two arguments"""

    def called(self) -> Called:
        call, result = self._call, self._call.result
        if isinstance(result, Kept):
            (value,) = call.outputs
            assert value is not None
            result = self._primal(result, value, call.rule.result == "curved")
        inputs, adjoint = call.inputs, None
        if self._is_read and len(call.outputs) == 1 and call.outputs[0] is not None:
            adjoint = call.outputs[0].adjoint
        is_spare = len(inputs) == 1 and inputs[0].value.is_spare()
        return Called(call.function, result, is_spare, None if adjoint is None else self._wide(adjoint))

    def args(self) -> tuple[Any, ...]:
        given: tuple[Any, ...] = mapped(self._call.args, self._argument)
        return given

    def kwargs(self) -> dict[str, Any]:
        given: dict[str, Any] = mapped(self._call.kwargs, self._argument)
        return given

    def gradients(
        self, tangents: list[Tensor], adjoints: list[Tensor | None]
    ) -> list[tuple[Tensor | Value, Tensor]]:
        """Of Σ adjoint·tangent by weights and values."""
        read = [
            (tangent, adjoint)
            for tangent, adjoint in zip(tangents, adjoints, strict=True)
            if adjoint is not None and tangent.requires_grad
        ]
        if not read or not self._leaves:
            return []
        outputs, given = zip(*read, strict=True)
        leaves, of = zip(*self._leaves.values(), strict=True)
        found = torch.autograd.grad(outputs, leaves, given, allow_unused=True)
        return [(one, gradient) for one, gradient in zip(of, found, strict=True) if gradient is not None]

    def _argument(self, given: Any) -> Any:
        if isinstance(given, Input):
            kept, tangent = given.primal, given.value.tangent
            assert tangent is not None
            primal: Any = (
                None if kept is None else self._primal(kept, given.value, self._call.use == "curved")
            )
            return Dual(primal, self._wide(tangent))
        if self._is_read and isinstance(given, Tensor) and given.requires_grad:
            self._leaves[id(given)] = (given, given)  # a weight's alias
        return given

    def _primal(self, kept: Kept, value: Value, is_curved: bool) -> Tensor:
        primal = kept.read(self._call.place)
        if is_curved and self._is_read:
            self._leaves[id(primal)] = (primal.requires_grad_(), value)
        return self._wide(primal)

    def _wide(self, tensor: Tensor) -> Tensor:
        return tensor.float() if self._call.rule.wide and tensor.dtype in _HALF else tensor


def _as_it_ran(autocast: Autocast) -> AbstractContextManager[object]:
    if autocast == Autocast.now(autocast.device):
        return nullcontext()
    context: Callable[..., AbstractContextManager[object]] = torch.autocast
    return context(autocast.device, autocast.dtype, autocast.enabled)
