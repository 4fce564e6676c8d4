"""Tangents of products: convolutions, linear layers, matrix products, element by element.

A function that is linear in each of its factors has the sum over them of itself, with that factor's tangent in its
place. What is added to the product has its own tangent added, where it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.penalties.rules.rule import Called, Dual, composition, of_product, rule


def _by_factors(product: Callable[..., Tensor], factors: Sequence[Any]) -> Any:
    """Σ over the live factors of the product with the tangent in the factor's place; 0 without any."""
    still = [f.primal if isinstance(f, Dual) else f for f in factors]
    terms = [
        product(*still[:place], factor.tangent, *still[place + 1 :])
        for place, factor in enumerate(factors)
        if isinstance(factor, Dual)
    ]
    return sum(terms[1:], terms[0]) if terms else 0


def _plus(term: Any, added: Any, axes: int = 0) -> Tensor:
    """With the tangent of what is added, one number a channel before so many axes."""
    moved: Tensor = term + added.tangent.reshape(-1, *(1,) * axes) if isinstance(added, Dual) else term
    return moved


def _convolution(
    called: Called, input: Any, weight: Any, bias: Any = None, *rest: Any, **named: Any
) -> Tensor:
    term = _by_factors(lambda x, w: called.function(x, w, None, *rest, **named), (input, weight))
    return _plus(term, bias, _of(weight).ndim - 2)


def _of(given: Any) -> Tensor:
    """A tensor of the argument's shape."""
    found: Tensor = given.tangent if isinstance(given, Dual) else given
    return found


for _axes in (1, 2, 3):
    for _name in (f"conv{_axes}d", f"conv_transpose{_axes}d"):
        rule(_name, inputs=of_product)(_convolution)


@rule(F.linear, inputs=of_product)
def linear(called: Called, input: Any, weight: Any, bias: Any = None) -> Tensor:
    return _plus(_by_factors(F.linear, (input, weight)), bias)


@rule("matmul", "mm", "bmm", "mv", "dot", inputs=of_product)
def matmul(called: Called, input: Any, other: Any) -> Tensor:
    found: Tensor = _by_factors(called.function, (input, other))
    return found


@rule("einsum", inputs=of_product)
def einsum(called: Called, equation: str, *operands: Any) -> Tensor:
    listed = (
        len(operands) == 1 and isinstance(operands[0], (list, tuple)) and not isinstance(operands[0], Dual)
    )
    factors = operands[0] if listed else operands
    found: Tensor = _by_factors(lambda *given: torch.einsum(equation, *given), factors)
    return found


@rule("mul", "mul_", "multiply", inputs=of_product)
def mul(called: Called, input: Any, other: Any) -> Tensor:
    found: Tensor = _by_factors(torch.mul, (input, other))
    return found


@composition("bilinear")
def bilinear(function: Any, input1: Any, input2: Any, weight: Any, bias: Any = None) -> Tensor:
    """x₁ᵀ·W·x₂ of each output."""
    product = torch.einsum("...i,oij,...j->...o", input1, weight, input2)
    return product if bias is None else product + bias


@composition("cosine_similarity")
def cosine_similarity(function: Any, x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    shape = torch.broadcast_shapes(x1.shape, x2.shape)
    first, second = (F.normalize(x.expand(shape), dim=dim, eps=eps) for x in (x1, x2))
    return (first * second).sum(dim)


@composition("addmm", "baddbmm", "addbmm", "addmv")
def added_product(
    function: Any, input: Any, first: Any, second: Any, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    product = torch.matmul(first, second)
    if function in (torch.addbmm, Tensor.addbmm):
        product = product.sum(0)
    return torch.add(input if beta == 1 else input * beta, product, alpha=alpha)


@composition("addcmul")
def addcmul(function: Any, input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Tensor:
    return torch.add(input, torch.mul(tensor1, tensor2), alpha=value)
