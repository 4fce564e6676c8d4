"""Tangents of exponentials, logarithms and trigonometric functions, element by element."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genfuse.penalties.rules.rule import Called, Dual, rule


@rule("exp", result="curved")
def exp(called: Called, input: Dual) -> Tensor:
    return input.tangent * called.result


@rule("expm1", result="curved")
def expm1(called: Called, input: Dual) -> Tensor:
    return input.tangent * (called.result + 1)


@rule("exp2", result="curved")
def exp2(called: Called, input: Dual) -> Tensor:
    return input.tangent * (called.result * math.log(2))


@rule("log", inputs="curved")
def log(called: Called, input: Dual) -> Tensor:
    return input.tangent / input.primal


@rule("log1p", inputs="curved")
def log1p(called: Called, input: Dual) -> Tensor:
    return input.tangent / (1 + input.primal)


@rule("log2", inputs="curved")
def log2(called: Called, input: Dual) -> Tensor:
    return input.tangent / (input.primal * math.log(2))


@rule("log10", inputs="curved")
def log10(called: Called, input: Dual) -> Tensor:
    return input.tangent / (input.primal * math.log(10))


@rule("sin", inputs="curved")
def sin(called: Called, input: Dual) -> Tensor:
    return input.tangent * torch.cos(input.primal)


@rule("cos", inputs="curved")
def cos(called: Called, input: Dual) -> Tensor:
    return -input.tangent * torch.sin(input.primal)


@rule("tan", result="curved")
def tan(called: Called, input: Dual) -> Tensor:
    return input.tangent * (1 + called.result.square())


@rule("atan", "arctan", inputs="curved")
def atan(called: Called, input: Dual) -> Tensor:
    return input.tangent / (1 + input.primal.square())


@rule("sinh", inputs="curved")
def sinh(called: Called, input: Dual) -> Tensor:
    return input.tangent * torch.cosh(input.primal)


@rule("cosh", inputs="curved")
def cosh(called: Called, input: Dual) -> Tensor:
    return input.tangent * torch.sinh(input.primal)


@rule("erf", inputs="curved")
def erf(called: Called, input: Dual) -> Tensor:
    return input.tangent * (torch.exp(-input.primal.square()) * (2 / math.sqrt(math.pi)))
