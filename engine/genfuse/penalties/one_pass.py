"""A penalty whose gradient is computed beside its value, by one pass of tangents.

∇ Σφ(n) by the weights is that of the derivative of Σ seed·D at the point along the direction φ'(n)·g/n, held fixed. So
all passes run in the forward, and what is kept for backward is a gradient a weight.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, NoReturn

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.errors import UnsupportedError
from genfuse.ops.norm_direction import norm_direction
from genfuse.penalties import activation, convolution, instance_norm, resampling
from genfuse.penalties.modules_of import modules_of
from genfuse.penalties.problem import Problem
from genfuse.penalties.recorder import Recorder
from genfuse.penalties.rules.rule import Run
from genfuse.penalties.tangent_pass import TangentPass
from genfuse.rollback import rollback_on_failure


def by_tangents(problem: Problem) -> tuple[Tensor, Tensor]:
    """The penalty () with its gradient, and the norms (N,) without. UnsupportedError for what has no tangent rule.

    Where it raises, the buffers of the network's modules are what they were.
    """
    wanted = torch.is_grad_enabled()
    of_point = wanted and problem.point.requires_grad
    with ExitStack() as around:
        around.enter_context(torch.inference_mode(False))
        around.enter_context(rollback_on_failure(*modules_of(problem.network)))
        recorder, output = _recorded(problem)
        weights = [weight.own for weight in recorder.weights.values()]
        passes = TangentPass(recorder, output, of_weights=wanted, of_point=of_point)
        seed = problem.seed(output)
        del recorder, output  # and with them what only they hold
        norms, direction = norm_direction(passes.data_gradient(seed))
        value, slope = _cost(problem, norms)
        if not passes.is_wanted:
            return value, norms
        largest, gradients = _gradients(passes, direction, slope, problem.point.dtype)
    penalty: Tensor = _Penalty.apply(value, largest, gradients, problem.point if of_point else None, *weights)
    return penalty, norms


def _recorded(problem: Problem) -> tuple[Recorder, Tensor]:
    """The network's forward, and what it gave."""
    given = problem.point
    point = (given.clone() if given.is_inference() else given).detach().requires_grad_()
    forced = dispatch.forced()

    def kernels(call: Run) -> Run:
        with dispatch.forcing(forced):
            for room in (activation, resampling, instance_norm):
                call = room.on_kernels(call)
            return convolution.on_kernels(call, problem.accuracy)

    with (
        _eagerly(),
        torch.enable_grad(),
        dispatch.backend("aten"),  # the network's own units are composed of what is recorded
        Recorder(point, problem.network, problem.name, kernels) as recorder,
    ):
        output = problem.output(point)
    if recorder.value_of(output) is None:
        raise ValueError(
            f"what {problem.name} returned does not depend on its input, expected scores that do"
        )
    return recorder, output


def _eagerly() -> AbstractContextManager[object]:
    """What torch.compile made of modules cannot be recorded: they run as they are written."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def _cost(problem: Problem, norms: Tensor) -> tuple[Tensor, Tensor]:
    """The penalty (), and its derivative by each norm (N,)."""
    with torch.enable_grad():
        norms = norms.detach().requires_grad_()
        value = problem.weight * problem.cost(norms)
        (slope,) = torch.autograd.grad(value, norms)
    return value.detach(), slope


def _gradients(
    passes: TangentPass, direction: Tensor, slope: Tensor, dtype: torch.dtype
) -> tuple[Tensor, list[Tensor | None]]:
    """Those of the penalty by the point and by each weight are the first, (), times the others.

    The tangents are those of directions of norm 1 at most, and no pass over the weights is for their scale alone.
    """
    largest = slope.abs().amax()
    share = slope / torch.where(largest > 0, largest, 1)
    direction.mul_(share.reshape(-1, *(1,) * (direction.ndim - 1)))
    return largest, passes.gradients(direction.to(dtype))


class _Penalty(torch.autograd.Function):
    """A value, and its gradients by the inputs behind it: `largest` times those that are given."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, largest: Tensor, gradients: list[Tensor | None], *inputs: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(largest, *gradients)
        ctx.inputs = inputs
        return value.clone()

    @staticmethod
    def backward(ctx: Any, by_value: Tensor) -> tuple[Tensor | None, ...]:
        largest, *gradients = ctx.saved_tensors
        scale = by_value * largest
        found = [None if kept is None else scale * kept for kept in gradients]
        if torch.is_grad_enabled():
            found = [
                None if one is None else _Once.apply(one, by_value, of)
                for one, of in zip(found, ctx.inputs, strict=True)
            ]
        return None, None, None, *found


class _Once(torch.autograd.Function):
    """A gradient that has none itself, and says so where autograd asks for it."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, by_value: Tensor, of: Tensor) -> Tensor:
        return gradient.detach().clone()

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> NoReturn:
        raise UnsupportedError(
            "a gradient penalty is differentiated a second time, expected once; compute it again"
        )
