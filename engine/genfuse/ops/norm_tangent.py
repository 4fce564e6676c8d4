"""`norm_tangent`: the derivative of a normalisation along a tangent, as gradient penalties need it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.asked import asked, asks_for_graph, tensors_among
from genfuse.ops.composed_gradient import composed_gradient
from genfuse.ops.library import LIBRARY, OURS, define, fake, needs_dispatcher, needs_gradient, only_recorded
from genfuse.ops.memory import empty_like
from genfuse_kernels.norm_tangent import reference

_NAMES = ("x", "tangent", "weight")


def norm_tangent(x: Tensor, tangent: Tensor, weight: Tensor | None = None, *, eps: float = 1e-5) -> Tensor:
    """weight·r·(ẋ − mean ẋ − x̂·mean(x̂·ẋ)) with x̂ = (x − mean)·r, r = 1/√(var + eps) of each row of x.

    x, tangent  (B, S) float32, or any floating dtype on `aten`: B sets of S values that are normalised, and ẋ
    weight      (R, K) like them, R a divisor of B and K of S: weight[b mod R, s·K // S] is that of value s of set b

    Returns (B, S), differentiable, twice too. `genfuse_kernels/norm_tangent/spec.py` says how norms over channels and
    groups are such sets. ValueError or TypeError, naming the argument, before anything is computed.
    """
    _check(x, tangent, weight, eps)
    if not needs_dispatcher(x, tangent, weight):
        return _launch(x, tangent, weight, eps)
    if only_recorded(x, tangent, weight):
        chosen = dispatch.resolve("norm_tangent", x.device, x.dtype, True)
        if chosen in OURS:
            return by_kernels(chosen, x, tangent, weight, eps)
    result: Tensor = torch.ops.genfuse.norm_tangent(x, tangent, weight, eps)
    return result


def by_kernels(
    backend: dispatch.Backend,
    x: Tensor,
    tangent: Tensor,
    weight: Tensor | None,
    eps: float,
    adjoint: Tensor | None = None,
) -> Tensor:
    """The same with a graph behind it, of what was checked and is plain, by one of `OURS`.

    adjoint   what the result will be differentiated with, (B, S), if that is known: all gradients are computed beside
              the result then, from what is read for it, and what backward is given is not looked at
    """
    y: Tensor
    if adjoint is None:
        y = _Tangent.apply(backend, eps, x, tangent, weight)
    else:
        y = _TangentAndGradients.apply(backend, eps, adjoint, x, tangent, weight)
    return y


class _Tangent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, backend: dispatch.Backend, eps: float, x: Tensor, tangent: Tensor, weight: Tensor | None
    ) -> Tensor:
        ctx.backend, ctx.eps, ctx.are_tensors = backend, eps, tensors_among((x, tangent, weight))
        ctx.save_for_backward(x, tangent, weight)
        return _launch(x, tangent, weight, eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, needs = list(ctx.saved_tensors), asked(ctx, ctx.are_tensors)
        if asks_for_graph(gradient):
            found = composed_gradient(partial(_composed, ctx.eps), inputs, gradient, needs)
            return None, None, *found
        return None, None, *_gradients(ctx.backend, ctx.eps, (gradient, *inputs), needs, None)


class _TangentAndGradients(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        backend: dispatch.Backend,
        eps: float,
        adjoint: Tensor,
        x: Tensor,
        tangent: Tensor,
        weight: Tensor | None,
    ) -> Tensor:
        out = empty_like(x.contiguous())
        ctx.found = _gradients(backend, eps, (adjoint, x, tangent, weight), ctx.needs_input_grad[3:], out)
        return out

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *ctx.found


def _gradients(
    backend: dispatch.Backend,
    eps: float,
    given: Sequence[Tensor | None],
    needs: Sequence[bool],
    out: Tensor | None,
) -> list[Tensor | None]:
    """Of x, tangent and weight, from (gradient, x, tangent, weight); fills `out` beside them where it is given."""
    kernels = importlib.import_module(f"genfuse_kernels.norm_tangent.{backend}_gradient")
    wanted = [name for name, needed in zip(_NAMES, needs, strict=True) if needed]
    dense = [None if tensor is None else tensor.contiguous() for tensor in given]
    assert dense[1] is not None
    launch = dispatch.gradient_launcher("norm_tangent", backend, kernels.norm_tangent_gradient, dense[1])
    made = launch(*dense, eps, wanted, out)
    return [made.get(name) for name in _NAMES]


def _composed(eps: float, of: Sequence[Tensor | None]) -> Tensor:
    x, tangent, weight = of
    assert x is not None and tangent is not None
    return reference.norm_tangent(x, tangent, weight, eps)


def _launch(x: Tensor, tangent: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    kernel = dispatch.select("norm_tangent", x.device, x.dtype)
    dense = [None if tensor is None else tensor.contiguous() for tensor in (x, tangent, weight)]
    out = empty_like(x.contiguous())
    kernel(out, *dense, eps)
    return out


# --- registration ---

define("norm_tangent(Tensor x, Tensor tangent, Tensor? weight, float eps) -> Tensor")


@torch.library.impl(LIBRARY, "norm_tangent", "CPU")
@torch.library.impl(LIBRARY, "norm_tangent", "CUDA")
def _norm_tangent(x: Tensor, tangent: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    return _launch(x, tangent, weight, eps)


@fake("norm_tangent")
def _fake(x: Tensor, tangent: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.impl(LIBRARY, "norm_tangent", "Autograd")
def _autograd(x: Tensor, tangent: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    if needs_gradient(x, tangent, weight):
        why = "a traced or transformed call that needs gradients composes PyTorch's own kernels"
        dispatch.resolve("norm_tangent", x.device, x.dtype, True, dict.fromkeys(OURS, why))
        return reference.norm_tangent(x, tangent, weight, eps)
    with torch._C._AutoDispatchBelowAutograd():
        out: Tensor = torch.ops.genfuse.norm_tangent(x, tangent, weight, eps)
    return out


def _check(x: Tensor, tangent: Tensor, weight: Tensor | None, eps: float) -> None:
    check.sample("x", x)
    if x.ndim != 2 or x.shape[1] < 1:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (B, S): sets of one value or more")
    check.like("tangent", tangent, x)
    check.finite("eps", eps)
    if eps < 0:
        raise ValueError(f"eps is {eps}, expected 0 or more")
    if weight is None:
        return
    check.dense("weight", weight, "(R, K)")
    rows, columns = weight.shape if weight.ndim == 2 else (0, 0)
    if min(rows, columns) < 1 or x.shape[0] % rows or x.shape[1] % columns:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}, expected (R, K), divisors of {x.shape[0]} and {x.shape[1]}"
        )
    check.like("weight", weight, x, tuple(weight.shape))
