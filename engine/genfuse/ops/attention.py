"""`attention`: softmax(q·kᵀ·scale)·v, without writing the matrix of scores."""

from __future__ import annotations

import importlib
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.asked import asks_for_graph
from genfuse.ops.composed_gradient import composed_gradient
from genfuse.ops.library import (
    LIBRARY,
    OURS,
    define,
    fake,
    gradient_limits,
    has_tangent,
    needs_dispatcher,
    needs_gradient,
)
from genfuse.ops.memory import empty
from genfuse_kernels.attention import reference
from genfuse_kernels.attention.spec import triton_limit


def attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor:
    """softmax(scale·q·kᵀ)·v over the keys of each sample and head (Vaswani et al. 2017, eq. 1).

    q       (N, heads, L, D) float32, bfloat16 or float16 (any dtype on `aten`), any strides
    k       (N, heads, S, D) like q, S ≥ 1
    v       (N, heads, S, E) like q
    scale   1/√D by default

    Returns (N, heads, L, E), in memory (N, L, heads, E): what the projection behind it reads as rows. A sample's bits
    depend on that sample alone. Differentiable by PyTorch's own kernels. ValueError or TypeError, naming the argument,
    before anything is computed.
    """
    _check(q, k, v)
    if scale is not None:
        check.finite("scale", scale)
    scale = 1 / math.sqrt(q.shape[3]) if scale is None else float(scale)
    if needs_dispatcher(q, k, v):
        result: Tensor = torch.ops.genfuse.attention(q, k, v, scale)
        return result
    return _attention(q, k, v, scale)


def limits(q: Tensor, v: Tensor, gradients: bool = False) -> dict[dispatch.Backend, str]:
    """Why backends do not run heads of this size."""
    why = triton_limit(q.dtype, q.shape[3], v.shape[3], gradients)
    return {} if why is None else {"triton": why}


def _differentiable(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    of_call = limits(q, v, True) | gradient_limits(q, k, v)
    chosen = dispatch.resolve("attention", q.device, q.dtype, True, of_call)
    if chosen in OURS:
        out: Tensor = _Attention.apply(scale, chosen, q, k, v)
        return out
    if has_tangent(q, k, v):  # PyTorch's kernel has no forward mode on the CPU
        return reference.attention(q, k, v, scale)
    return F.scaled_dot_product_attention(q, k, v, scale=scale)


class _Attention(torch.autograd.Function):
    """By our kernels; a gradient of the gradient by PyTorch's, which write the scores."""

    @staticmethod
    def forward(ctx: Any, scale: float, backend: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with torch._C._AutoDispatchBelowAutograd():
            out: Tensor
            out, logs = torch.ops.genfuse.attention_forward(q, k, v, scale, backend)
        ctx.scale, ctx.backend = scale, backend
        ctx.save_for_backward(q, k, v, out, logs)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, logs = ctx.saved_tensors
        if not asks_for_graph(gradient):
            call = torch.ops.genfuse.attention_backward
            return None, None, *call(gradient, q, k, v, out, logs, ctx.scale, ctx.backend)

        def compose(of: Any) -> Tensor:
            q, k, v = of
            return reference.attention(q, k, v, ctx.scale)

        return None, None, *composed_gradient(compose, (q, k, v), gradient, ctx.needs_input_grad[2:])


# --- registration ---

define("attention(Tensor q, Tensor k, Tensor v, float scale) -> Tensor")
define(
    "attention_forward(Tensor q, Tensor k, Tensor v, float scale, str backend) -> (Tensor out, Tensor logs)"
)
define(
    "attention_backward(Tensor gradient, Tensor q, Tensor k, Tensor v, Tensor out, Tensor logs, float scale, "
    "str backend) -> (Tensor, Tensor, Tensor)"
)


@torch.library.impl(LIBRARY, "attention", "CPU")
@torch.library.impl(LIBRARY, "attention", "CUDA")
def _attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    out: Tensor = _fake(q, k, v, scale)
    dispatch.select("attention", q.device, q.dtype, limits=limits(q, v))(out, q, k, v, scale)
    return out


@fake("attention")
def _fake(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    n, heads, queries, _ = q.shape
    return empty(q, (n, queries, heads, v.shape[3]), q.dtype).transpose(1, 2)


@torch.library.impl(LIBRARY, "attention", "Autograd")
def _autograd(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    if needs_gradient(q, k, v):
        return _differentiable(q, k, v, scale)
    with torch._C._AutoDispatchBelowAutograd():
        result: Tensor = torch.ops.genfuse.attention(q, k, v, scale)
    return result


@torch.library.impl(LIBRARY, "attention_forward", "CPU")
@torch.library.impl(LIBRARY, "attention_forward", "CUDA")
def _forward(q: Tensor, k: Tensor, v: Tensor, scale: float, backend: str) -> tuple[Tensor, Tensor]:
    out, logs = _fake_forward(q, k, v, scale, backend)
    kernels = importlib.import_module(f"genfuse_kernels.attention.{backend}_impl")
    kernels.attention(out, q, k, v, scale, logs=logs)
    return out, logs


@fake("attention_forward")
def _fake_forward(q: Tensor, k: Tensor, v: Tensor, scale: float, _: str) -> tuple[Tensor, Tensor]:
    return _fake(q, k, v, scale), q.new_empty(q.shape[:3], dtype=torch.float32)


@torch.library.impl(LIBRARY, "attention_backward", "CPU")
@torch.library.impl(LIBRARY, "attention_backward", "CUDA")
def _backward(gradient: Tensor, *given: Any) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v, out, logs, scale, backend = given
    to = _fake_backward(gradient, *given)
    kernels = importlib.import_module(f"genfuse_kernels.attention.{backend}_gradient")
    launch = dispatch.gradient_launcher("attention", backend, kernels.attention_gradient, q)
    launch(to, gradient, out, logs, q, k, v, scale)
    return to


@fake("attention_backward")
def _fake_backward(_: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        check.sample(name, tensor)
        if (
            tensor.ndim != 4
            or min(tensor.shape[1], tensor.shape[3]) < 1
            or (name != "q" and tensor.shape[2] < 1)
        ):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected (N, heads, tokens, channels)")
    n, heads, _, channels = q.shape
    keys = k.shape[2]
    check.like("k", k, q, (n, heads, keys, channels), "q")
    check.like("v", v, q, (n, heads, keys, v.shape[3]), "q")
