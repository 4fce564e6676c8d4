"""Tangents of sums, products, means, variances, norms and maxima over axes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfuse.errors import UnsupportedError
from genfuse.penalties.rules.rule import Called, Dual, composition, rule


def over_samples(input: Tensor, dim: Any = None, *_: Any, **named: Any) -> bool:
    """Whether the first axis, with more than one element, is reduced together with or without others."""
    axes = named.get("axis", dim)
    if input.ndim == 0 or input.shape[0] == 1 or isinstance(axes, Tensor):
        return False
    if axes is None or isinstance(axes, bool):
        return True
    listed = axes if isinstance(axes, (tuple, list)) else (axes,)
    return not listed or any(axis in (0, -input.ndim) for axis in listed)


@rule("sum", "mean", "cumsum", couples=over_samples)
def linear(called: Called, input: Dual, *rest: Any, **named: Any) -> Tensor:
    found: Tensor = called.function(input.tangent, *rest, **named)
    return found


@rule("prod", inputs="curved", couples=over_samples)
def product(
    called: Called, input: Dual, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """By halves, each pair's tangent with its product: no quotient, so zeros are as any number."""
    x, tangent = (each.flatten() for each in input) if dim is None else input
    axis = 0 if dim is None else dim
    while (rest := x.shape[axis]) > 1:
        parts = [rest // 2, rest // 2, rest % 2]
        (x, other, odd), (first, second, last) = x.split(parts, axis), tangent.split(parts, axis)
        tangent = torch.cat([first * other + x * second, last], axis)
        x = torch.cat([x * other, odd], axis)
    return tangent.sum(axis, keepdim=keepdim and dim is not None)  # of one, or of none


@rule("var", inputs="curved", couples=over_samples)
def variance(
    called: Called,
    input: Dual,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """2·Σ(x − mean)·ẋ/(M − correction)."""
    x, tangent = input
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    less = float(unbiased) if correction is None else correction
    axes = tuple(range(x.ndim)) if dim is None else dim
    centred = x - x.mean(axes, keepdim=True)
    found = (centred * tangent).sum(axes, keepdim=keepdim)
    values = x.numel() // max(1, found.numel())
    return found * (2 / (values - less))


@rule("std", inputs="curved", result="curved", couples=over_samples)
def deviation(called: Called, input: Dual, *rest: Any, **named: Any) -> Tensor:
    """That of the variance over twice the deviation; 0 where there is none, as PyTorch's gradient has it."""
    return _safely(variance(called, input, *rest, **named), 2 * called.result)


def _safely(numerator: Tensor, denominator: Tensor) -> Tensor:
    still = denominator == 0
    return torch.where(still, 0, numerator / torch.where(still, 1, denominator))


@composition("var_mean", "std_mean")
def spread_and_mean(function: Any, input: Tensor, dim: Any = None, *rest: Any, **named: Any) -> Any:
    spread = torch.var if function is torch.var_mean else torch.std
    axes = tuple(range(input.ndim)) if dim is None or isinstance(dim, bool) else dim
    return spread(input, dim, *rest, **named), input.mean(axes, keepdim=named.get("keepdim", False))


@rule(torch.linalg.vector_norm, inputs="curved", result="curved", couples=over_samples)
def vector_norm(
    called: Called, x: Dual, ord: float = 2, dim: Any = None, keepdim: bool = False, **_: Any
) -> Tensor:
    if ord != 2:
        raise UnsupportedError(f"ord is {ord}, expected 2: other norms have no rule")
    axes = tuple(range(x.primal.ndim)) if dim is None else dim
    return _safely((x.primal * x.tangent).sum(axes, keepdim=keepdim), called.result)


@composition("norm")
def norm(
    function: Any,
    input: Tensor,
    p: Any = "fro",
    dim: Any = None,
    keepdim: bool = False,
    out: None = None,
    dtype: Any = None,
) -> Any:
    ord = 2 if p in ("fro", None) else p
    return torch.linalg.vector_norm(input, ord, dim, keepdim, dtype=dtype)


@composition("normalize")
def normalize(
    function: Any, input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None
) -> Any:
    length: Tensor = torch.linalg.vector_norm(input, p, dim, True)
    return input / length.clamp_min(eps)


@rule("max", "min", inputs="constant", result="constant", couples=over_samples)
def extreme(called: Called, input: Any, *rest: Any, **named: Any) -> Tensor:
    """At the place of the extreme; of the whole tensor, or of two, as PyTorch shares the gradient out."""
    if isinstance(called.result, Tensor):
        if rest or named:
            raise UnsupportedError("max or min of two tensors, expected torch.maximum or torch.minimum")
        return _shared(input, called.result, tuple(range(input.primal.ndim)), False)
    dim = named.get("dim", rest[0] if rest else None)
    keepdim = named.get("keepdim", rest[1] if len(rest) > 1 else False)
    places = called.result[1]
    found: Tensor = input.tangent.gather(dim, places if keepdim else places.unsqueeze(dim))
    return found if keepdim else found.squeeze(dim)


@rule("amax", "amin", inputs="constant", result="constant", couples=over_samples)
def shared_extreme(called: Called, input: Dual, dim: Any = (), keepdim: bool = False) -> Tensor:
    return _shared(input, called.result, dim if dim != () else tuple(range(input.primal.ndim)), keepdim)


def _shared(input: Dual, y: Tensor, axes: Any, keepdim: bool) -> Tensor:
    """The mean tangent of all that are extreme."""
    listed = axes if isinstance(axes, (tuple, list)) else (axes,)
    if not keepdim:
        for axis in sorted(axis % input.primal.ndim for axis in listed):
            y = y.unsqueeze(axis)
    is_extreme = (input.primal == y).to(input.tangent.dtype)
    return (input.tangent * is_extreme).sum(axes, keepdim=keepdim) / is_extreme.sum(axes, keepdim=keepdim)
