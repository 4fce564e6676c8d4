"""`attention`: softmax(q·kᵀ·scale)·v, without writing the matrix of scores."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.library import LIBRARY, define, fake, has_tangent, needs_dispatcher, needs_gradient
from genfuse.ops.memory import empty
from genfuse_kernels.attention import reference


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


define("attention(Tensor q, Tensor k, Tensor v, float scale) -> Tensor")


@torch.library.impl(LIBRARY, "attention", "CPU")
@torch.library.impl(LIBRARY, "attention", "CUDA")
def _attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    out: Tensor = _fake(q, k, v, scale)
    dispatch.select("attention", q.device, q.dtype)(out, q, k, v, scale)
    return out


@fake("attention")
def _fake(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    n, heads, queries, _ = q.shape
    return empty(q, (n, queries, heads, v.shape[3]), q.dtype).transpose(1, 2)


@torch.library.impl(LIBRARY, "attention", "Autograd")
def _autograd(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    if needs_gradient(q, k, v):
        dispatch.select("attention", q.device, q.dtype, gradients=True)
        if has_tangent(q, k, v):  # PyTorch's kernel has no forward mode on the CPU
            return reference.attention(q, k, v, scale)
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    with torch._C._AutoDispatchBelowAutograd():
        result: Tensor = torch.ops.genfuse.attention(q, k, v, scale)
    return result


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
