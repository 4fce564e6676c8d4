"""Tangents of sums, quotients and powers, element by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genfuse.errors import UnsupportedError
from genfuse.penalties.rules.rule import Called, Dual, Live, Use, composition, rule


def _moved(given: Any) -> Any:
    """The tangent; 0 of what does not depend on the point."""
    return given.tangent if isinstance(given, Dual) else 0


def _value(given: Any) -> Any:
    return given.primal if isinstance(given, Dual) else given


@rule("add", "add_")
def add(called: Called, input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    found: Tensor = _moved(input) + (_moved(other) if alpha == 1 else _moved(other) * alpha)
    return found


@rule("sub", "sub_", "subtract")
def sub(called: Called, input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    found: Tensor = _moved(input) - (_moved(other) if alpha == 1 else _moved(other) * alpha)
    return found


@rule("rsub", Tensor.__rsub__)
def reversed_sub(called: Called, input: Any, other: Any) -> Tensor:
    return sub(called, other, input)


@rule("neg", "negative")
def neg(called: Called, input: Dual) -> Tensor:
    return -input.tangent


def _of_divisor(live: Live) -> Use:
    """A quotient is linear in the dividend."""
    return "curved" if any(live[1:]) else "unused"


@rule("div", "div_", "true_divide", "divide", inputs=_of_divisor)
def div(called: Called, input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    if rounding_mode is not None:
        raise UnsupportedError(f"rounding_mode is {rounding_mode!r}, expected None: a step has no gradient")
    quotient: Tensor = _moved(input) / _value(other)
    if isinstance(other, Dual):
        quotient = quotient - _value(input) * other.tangent / other.primal.square()
    return quotient


@composition(Tensor.__rdiv__)
def reversed_div(function: Any, input: Tensor, other: Any) -> Tensor:
    quotient: Tensor = input.reciprocal() * other
    return quotient


@rule("pow", Tensor.__pow__, inputs="curved")
def power(called: Called, input: Any, exponent: Any) -> Tensor:
    found: Any = 0
    if isinstance(input, Dual):
        found = input.tangent * _by_base(input.primal, _value(exponent))
    if isinstance(exponent, Dual):
        found = found + exponent.tangent * _by_exponent(_value(input), exponent.primal)
    result: Tensor = found
    return result


@rule(Tensor.__rpow__, inputs="curved")
def reversed_power(called: Called, input: Any, base: Any) -> Tensor:
    return power(called, base, input)


def _by_base(base: Tensor, exponent: Any) -> Any:
    """e·bᵉ⁻¹; 0 of no power, of 0 too, as PyTorch's gradient has it."""
    if not isinstance(exponent, Tensor):
        return 0 if exponent == 0 else exponent * torch.pow(base, exponent - 1)
    return torch.where(exponent == 0, 0, exponent * torch.pow(base, exponent - 1))


def _by_exponent(base: Any, exponent: Tensor) -> Tensor:
    """bᵉ·ln b; 0 of base 0, whose power is 0 along all of its way."""
    base = torch.as_tensor(base, dtype=exponent.dtype, device=exponent.device)
    is_zero = (base == 0) & (exponent >= 0)
    slope = torch.pow(base, exponent) * torch.log(torch.where(is_zero, 1, base))
    return torch.where(is_zero, 0, slope)


@rule("square", inputs="curved")
def square(called: Called, input: Dual) -> Tensor:
    found: Tensor = 2 * input.primal * input.tangent
    return found


@rule("sqrt", result="curved")
def sqrt(called: Called, input: Dual) -> Tensor:
    return input.tangent / (2 * called.result)


@rule("rsqrt", result="curved")
def rsqrt(called: Called, input: Dual) -> Tensor:
    return input.tangent * (-0.5 * called.result**3)


@rule("reciprocal", result="curved")
def reciprocal(called: Called, input: Dual) -> Tensor:
    return -input.tangent * called.result.square()


@rule("abs", "absolute", inputs="constant")
def absolute(called: Called, input: Dual) -> Tensor:
    return input.tangent * torch.sign(input.primal)


@rule("clamp", "clamp_", "clip", "clamp_min", "clamp_max", inputs="constant")
def clamp(called: Called, input: Dual, *bounds: Any, **named: Any) -> Tensor:
    low, high = _bounds(called.function.__name__, bounds, named)
    if isinstance(low, Dual) or isinstance(high, Dual):
        raise UnsupportedError("a bound of clamp depends on the point, expected numbers or constant tensors")
    inside = torch.ones_like(input.primal, dtype=torch.bool)
    if low is not None:
        inside = inside & (input.primal >= low)
    if high is not None:
        inside = inside & (input.primal <= high)
    return input.tangent * inside


def _bounds(name: str, given: Sequence[Any], named: dict[str, Any]) -> tuple[Any, Any]:
    if name == "clamp_max":
        return None, named.get("max", *given)
    low, high = (*given, None, None)[:2]
    return named.get("min", low), named.get("max", high)


@rule("sign", "floor", "ceil", "round", "trunc")
def step(called: Called, input: Dual, *_: Any, **__: Any) -> Tensor:
    return torch.zeros_like(input.tangent)


@rule("maximum", "minimum", inputs="constant")
def extreme(called: Called, input: Any, other: Any) -> Tensor:
    """Half of both where they are equal, as PyTorch's gradient has it."""
    sign = 1 if called.function.__name__ == "maximum" else -1
    ahead = torch.sign(_value(input) - _value(other)) * sign
    found: Tensor = _moved(input) * (0.5 + 0.5 * ahead) + _moved(other) * (0.5 - 0.5 * ahead)
    return found


@rule(torch.where)
def where(called: Called, condition: Tensor, input: Any, other: Any) -> Tensor:
    return torch.where(condition, _moved(input), _moved(other))


@rule(Tensor.where)
def method_where(called: Called, input: Any, condition: Tensor, other: Any) -> Tensor:
    return where(called, condition, input, other)


@rule("masked_fill", "masked_fill_")
def masked_fill(called: Called, input: Any, mask: Tensor, value: Any) -> Tensor:
    return torch.where(mask, _moved(value), _moved(input))


@composition("lerp")
def lerp(function: Any, input: Any, end: Any, weight: Any) -> Tensor:
    moved: Tensor = input + weight * (end - input)
    return moved
