"""What ends a style GAN's layer where the result's sign tells the slope: bias, noise, ReLU or LeakyReLU and a gain."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from genfuse.ops.bias_act import composed
from genfuse.penalties.rules.activation import by_sign
from genfuse.penalties.rules.rule import Called, Dual, composition, rule
from genfuse_kernels.bias_act import reference
from genfuse_kernels.bias_act.spec import Settings


@composition(torch.ops.genfuse.bias_act)
def op(
    function: Any, x: Tensor, bias: Tensor | None, scale: Tensor | None, noise: Tensor | None, *settings: Any
) -> Tensor:
    return bias_act(function, x, bias, scale, noise, Settings(*settings))


@composition(composed)
def bias_act(
    function: Any, x: Tensor, bias: Tensor | None, scale: Tensor | None, noise: Tensor | None, s: Settings
) -> Tensor:
    """As one call where there are two slopes, else of what it is made of."""
    if scale is None and has_two_slopes(s):
        return biased_activation(x, bias, noise, s)
    return reference.bias_act(x, bias, scale, noise, s)


def has_two_slopes(s: Settings) -> bool:
    """Whether the derivative is one number where the result is positive, and another one elsewhere."""
    is_kinked = s.activation == "relu" or (s.activation == "leaky_relu" and s.negative_slope > 0)
    return is_kinked and s.gain > 0 and s.clamp is None


def slopes(s: Settings) -> tuple[float, float]:
    """Where the result is not positive, and where it is: the gain is in both."""
    return (s.negative_slope * s.gain if s.activation == "leaky_relu" else 0.0), s.gain


def biased_activation(x: Tensor, bias: Tensor | None, noise: Tensor | None, settings: Settings) -> Tensor:
    """`bias_act` by its definition, as a call that recorders see, and put our kernels in the place of."""
    given = tuple(each for each in (x, bias, noise) if each is not None)
    if has_torch_function(given):
        seen: Tensor = handle_torch_function(biased_activation, given, x, bias, noise, settings)
        return seen
    return reference.bias_act(x, bias, None, noise, Settings(*settings))  # recorders hand on tuples


@rule(biased_activation, result="sign")
def biased(called: Called, x: Any, bias: Any, noise: Any, settings: Settings) -> Tensor:
    """The tangents of what is added up, times the slope."""
    s = Settings(*settings)
    moved = [each.tangent for each in (x, noise) if isinstance(each, Dual)]
    if isinstance(bias, Dual):
        moved.append(bias.tangent.reshape(-1, *(1,) * (called.result.ndim - 1 - s.dim)))
    total: Tensor = sum(moved[1:], moved[0])
    is_spare = called.is_spare and total.shape == called.result.shape
    return by_sign(called._replace(is_spare=is_spare), total.expand(called.result.shape), *slopes(s))
