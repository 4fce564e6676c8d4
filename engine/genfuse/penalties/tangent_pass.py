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

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from genfuse.penalties.recorder import Autocast, Call, Input, Kept, Recorder, Value, mapped, tensors
from genfuse.penalties.rules.rule import Called, Dual

_HALF = (torch.bfloat16, torch.float16)


class TangentPass:
    """Of the output of a network that ran under a recorder.

    of_point   whether the gradient by the point is wanted as well as those by the recorder's weights
    """

    def __init__(self, recorder: Recorder, output: Tensor, of_point: bool) -> None:
        self.weights = recorder.weights
        self._value, self._output, self._of_point = recorder.point, output, of_point
        self._calls: deque[Call] = recorder.calls

    @property
    def is_wanted(self) -> bool:
        """Whether any gradient beside g is."""
        return self._of_point or bool(self.weights)

    def data_gradient(self, seed: Tensor) -> Tensor:
        """g = ∇ₓ Σ seed·D, like the point; the adjoints that the tangents' gradients need are kept on the way."""
        read = [
            value
            for call in self._calls
            if self.is_wanted and call.differentiated
            for value in call.outputs
            if value is not None
        ]
        keep = self.is_wanted and any(call.curved for call in self._calls)
        edges = [self._value.edge, *(value.edge for value in read)]
        gradient, *adjoints = torch.autograd.grad(
            self._output, edges, seed, retain_graph=keep, allow_unused=True
        )
        del self._output
        for value, adjoint in zip(read, adjoints, strict=True):
            value.adjoint = adjoint
        return gradient

    def gradients(self, direction: Tensor) -> tuple[Tensor | None, list[Tensor | None]]:
        """Of t by the point, where wanted, and by each of `weights`; None for 0. Once, after `data_gradient`."""
        self._value.tangent = direction
        by_weight: dict[int, Tensor] = {}
        onwards: list[tuple[GradientEdge, Tensor]] = []
        while self._calls:
            self._advance(self._calls.popleft(), by_weight, onwards)
        if not self._of_point:
            onwards = [(edge, gradient) for edge, gradient in onwards if edge != self._value.edge]
        by_point = None
        if onwards:
            wanted: list[Any] = [self._value.edge] if self._of_point else []
            edges, given = zip(*onwards, strict=True)
            found = torch.autograd.grad(edges, [*wanted, *self.weights.values()], given, allow_unused=True)
            by_point = found[0] if wanted else None
            for key, gradient in zip(self.weights, found[len(wanted) :], strict=True):
                if gradient is not None:
                    by_weight[key] = gradient if key not in by_weight else by_weight[key] + gradient
        return by_point, [by_weight.get(key) for key in self.weights]

    def _advance(
        self, call: Call, by_weight: dict[int, Tensor], onwards: list[tuple[GradientEdge, Tensor]]
    ) -> None:
        """Tangents of a call's outputs; its share of the gradients is added to those of weights and goes onwards."""
        values = [value for value in call.outputs if value is not None]
        is_read = self.is_wanted and any(value.adjoint is not None for value in values)
        leaves = _Leaves(call, is_read)
        with torch.set_grad_enabled(is_read), _as_it_ran(call.autocast):
            made = call.rule.tangent(leaves.called(), *leaves.args(), **leaves.kwargs())
            tangents = [
                tangent.to(value.dtype).broadcast_to(value.shape)
                for tangent, value in zip(tensors(made), call.outputs, strict=False)  # places have none
                if value is not None
            ]
        for value, tangent in zip(values, tangents, strict=True):
            value.tangent = tangent.detach()
        shares = leaves.gradients(tangents, [value.adjoint for value in values])
        for of, gradient in shares:
            if isinstance(of, Tensor):
                key = id(of)
                by_weight[key] = gradient if key not in by_weight else by_weight[key] + gradient
            else:
                onwards.append((of.edge, gradient))
        for value in values:
            value.adjoint = None


class _Leaves:
    """A call's arguments, of which the gradients are taken that its tangents have."""

    def __init__(self, call: Call, is_read: bool) -> None:
        self._call, self._is_read = call, is_read
        self._leaves: list[tuple[Tensor, Tensor | Value]] = []

    def called(self) -> Called:
        call, result = self._call, self._call.result
        if isinstance(result, Kept):
            (value,) = call.outputs
            assert value is not None
            result = self._primal(result, value, call.rule.result == "curved")
        return Called(call.function, result)

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
        leaves, of = zip(*self._leaves, strict=True)
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
        if isinstance(given, Tensor) and given.requires_grad:
            return self._leaf(given.detach(), given)
        return given

    def _primal(self, kept: Kept, value: Value, is_curved: bool) -> Tensor:
        primal = kept.read(self._call.place)
        if is_curved:
            primal = self._leaf(primal, value)
        return self._wide(primal)

    def _wide(self, tensor: Tensor) -> Tensor:
        return tensor.float() if self._call.rule.wide and tensor.dtype in _HALF else tensor

    def _leaf(self, tensor: Tensor, of: Tensor | Value) -> Tensor:
        if self._is_read:
            self._leaves.append((tensor.requires_grad_(), of))
        return tensor


def _as_it_ran(autocast: Autocast) -> AbstractContextManager[object]:
    if autocast == Autocast.now(autocast.device):
        return nullcontext()
    context: Callable[..., AbstractContextManager[object]] = torch.autocast
    return context(autocast.device, autocast.dtype, autocast.enabled)
