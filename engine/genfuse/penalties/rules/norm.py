"""Tangents of norms.

Of x̂ = (x − mean)·r with r = 1/√(var + eps) over a set of M values:

    ẋ̂ = r·(ẋ − Σẋ/M − x̂·Σ(x̂·ẋ)/M)

in which x̂ and r are functions of x: what PyTorch's forward mode leaves out of the derivative's derivative.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse import dispatch
from genfuse.ops.library import OURS
from genfuse.ops.norm_tangent import by_kernels
from genfuse.penalties.rules.rule import Called, Dual, rule


def _standardised(x: Dual, normal: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """The tangent of `normal`, x̂ as PyTorch's kernel has it: that keeps x alone, which the graph holds already."""
    scale = torch.rsqrt(x.primal.var(axes, correction=0, keepdim=True) + eps)
    moved = x.tangent - x.tangent.mean(axes, keepdim=True)
    along = (normal * x.tangent).mean(axes, keepdim=True)
    return scale * torch.addcmul(moved, normal, along, value=-1)


def _on_kernels(
    called: Called, x: Dual, columns: int, weight: Tensor | None, rows: int, eps: float
) -> Tensor | None:
    """Of sets of so many values that lie together, `rows` of which have weights of their own: genfuse's kernel.

    Where the adjoint is known, the gradients come with the tangent: x, tangent and adjoint are read for both at once.
    None where PyTorch's run.
    """
    given = x.primal
    backend = dispatch.resolve("norm_tangent", given.device, given.dtype, True)
    if backend not in OURS:
        return None
    primal, tangent = (tensor.reshape(-1, columns) for tensor in x)
    weights = None if weight is None else weight.to(given.dtype).reshape(rows, -1)
    adjoint = None if called.adjoint is None else called.adjoint.to(given.dtype).reshape(-1, columns)
    return by_kernels(backend, primal, tangent, weights, eps, adjoint).reshape(given.shape)


def _of_channels(weight: Tensor | None, y: Tensor) -> Tensor:
    return y if weight is None else y * weight.reshape(-1, *(1,) * (y.ndim - 2))


@rule(F.layer_norm, torch.layer_norm, inputs="curved")
def layer_norm(
    called: Called,
    input: Dual,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """Ba, Kiros and Hinton 2016."""
    found = _on_kernels(called, input, math.prod(normalized_shape), weight, 1, eps)
    if found is not None:
        return found
    normal = F.layer_norm(input.primal, normalized_shape, eps=eps)
    y = _standardised(input, normal, tuple(range(-len(normalized_shape), 0)), eps)
    return y if weight is None else y * weight


@rule(F.group_norm, inputs="curved")
def group_norm(
    called: Called,
    input: Dual,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Wu and He 2018."""
    shape = input.tangent.shape
    found = _on_kernels(called, input, math.prod(shape[1:]) // num_groups, weight, num_groups, eps)
    if found is not None:
        return found
    normal = F.group_norm(input.primal, num_groups, eps=eps)
    primal, tangent, normal = (t.reshape(shape[0], num_groups, -1) for t in (*input, normal))
    y = _standardised(Dual(primal, tangent), normal, (2,), eps)
    return _of_channels(weight, y.reshape(shape))


@rule(F.instance_norm, inputs="curved")
def instance_norm(
    called: Called,
    input: Dual,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Ulyanov, Vedaldi and Lempitsky 2016."""
    if not use_input_stats and running_var is not None:
        return _of_channels(weight, _of_channels(torch.rsqrt(running_var + eps), input.tangent))
    shape = input.tangent.shape
    found = _on_kernels(called, input, math.prod(shape[2:]), weight, shape[1], eps)
    if found is not None:
        return found
    normal = F.group_norm(input.primal, shape[1], eps=eps)  # whose gradient PyTorch gets right in any layout
    return _of_channels(weight, _standardised(input, normal, tuple(range(2, normal.ndim)), eps))


def _by_batch(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    *_: Any,
    **__: Any,
) -> bool:
    return training


@rule(F.batch_norm, inputs="curved", couples=_by_batch)
def batch_norm(
    called: Called,
    input: Dual,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Ioffe and Szegedy 2015."""
    if not training and running_var is not None:
        return _of_channels(weight, _of_channels(torch.rsqrt(running_var + eps), input.tangent))
    normal = F.batch_norm(input.primal, None, None, training=True, eps=eps)
    return _of_channels(weight, _standardised(input, normal, (0, *range(2, normal.ndim)), eps))


@rule(F.rms_norm, torch.rms_norm, inputs="curved")
def rms_norm(
    called: Called,
    input: Dual,
    normalized_shape: Any,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Zhang and Sennrich 2019: x·r with r = 1/√(mean x² + eps), whose tangent is r·(ẋ − x·r²·Σ(x·ẋ)/M)."""
    axes = tuple(range(-len(normalized_shape), 0))
    x, tangent = input
    least = torch.finfo(x.dtype).eps if eps is None else eps
    scale = torch.rsqrt(x.square().mean(axes, keepdim=True) + least)
    y = scale * (tangent - x * scale.square() * (x * tangent).mean(axes, keepdim=True))
    return y if weight is None else y * weight
