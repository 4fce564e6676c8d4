"""Tangents of activations: σ'(x)·ẋ, by the result where it tells σ'."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse import dispatch
from genfuse.errors import UnsupportedError
from genfuse.ops.library import OURS
from genfuse.ops.memory import empty_like
from genfuse.penalties.rules.rule import Called, Dual, composition, rule
from genfuse_kernels.leaky_relu_tangent import reference as leaky_relu_reference

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@rule("relu", "relu_", result="sign")
def relu(called: Called, input: Dual, inplace: bool = False) -> Tensor:
    return by_sign(called, input.tangent, 0.0)


@rule("leaky_relu", "leaky_relu_", result="sign")
def leaky_relu(called: Called, input: Dual, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    if negative_slope < 0:
        raise UnsupportedError(
            f"negative_slope is {negative_slope}, expected 0 or more: the result's sign tells the slope"
        )
    return by_sign(called, input.tangent, negative_slope)


def by_sign(called: Called, tangent: Tensor, negative: float, positive: float = 1.0) -> Tensor:
    """Times one slope where the result is not positive, and another one where it is."""
    backend = dispatch.resolve("leaky_relu_tangent", tangent.device, tangent.dtype)
    if backend not in OURS:
        return leaky_relu_reference.leaky_relu_tangent(tangent, called.result, negative, positive)
    out = tangent if called.is_spare else empty_like(tangent)
    dispatch.chosen_launcher("leaky_relu_tangent", backend, tangent)(
        out, tangent, called.result, negative, positive
    )
    return out


@rule("prelu", inputs="sign")
def prelu(called: Called, input: Dual, weight: Tensor) -> Tensor:
    slope = weight if weight.numel() == 1 else weight.reshape(-1, *(1,) * (input.tangent.ndim - 2))
    return torch.where(input.primal, input.tangent, input.tangent * slope)


@rule("hardtanh", "hardtanh_", inputs="constant")
def hardtanh(
    called: Called, input: Dual, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    return input.tangent * ((input.primal > min_val) & (input.primal < max_val))


@rule("relu6", inputs="constant")
def relu6(called: Called, input: Dual, inplace: bool = False) -> Tensor:
    return input.tangent * ((input.primal > 0) & (input.primal < 6))


@rule("sigmoid", "sigmoid_", result="curved")
def sigmoid(called: Called, input: Dual) -> Tensor:
    y: Tensor = called.result
    return input.tangent * (y * (1 - y))


@rule("tanh", "tanh_", result="curved")
def tanh(called: Called, input: Dual) -> Tensor:
    return input.tangent * (1 - called.result.square())


@rule("silu", inputs="curved")
def silu(called: Called, input: Dual, inplace: bool = False) -> Tensor:
    x, share = input.primal, torch.sigmoid(input.primal)
    return input.tangent * (share * (1 + x * (1 - share)))


@rule("mish", inputs="curved")
def mish(called: Called, input: Dual, inplace: bool = False) -> Tensor:
    x, t = input.primal, torch.tanh(F.softplus(input.primal))
    return input.tangent * (t + x * (1 - t.square()) * torch.sigmoid(x))


@rule("gelu", inputs="curved")
def gelu(called: Called, input: Dual, approximate: str = "none") -> Tensor:
    """Hendrycks and Gimpel 2016: x·Φ(x), and its approximation x·(1 + tanh z)/2 = x·σ(2z)."""
    x = input.primal
    if approximate == "none":
        density = torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
        return input.tangent * (0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * density)
    twice = 2 * math.sqrt(2 / math.pi)
    doubled = twice * (x + 0.044715 * x**3)
    share, rest = (
        torch.sigmoid(doubled),
        torch.sigmoid(-doubled),
    )  # 1 - share would lose its digits where x is large
    slope = share * rest * twice * (1 + 0.134145 * x.square())
    return input.tangent * (share + x * slope)


@rule("softplus", inputs="curved")
def softplus(called: Called, input: Dual, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    scaled = input.primal * beta
    return torch.where(scaled > threshold, input.tangent, input.tangent * torch.sigmoid(scaled))


@rule("logsigmoid", inputs="curved")
def logsigmoid(called: Called, input: Dual) -> Tensor:
    return input.tangent * torch.sigmoid(-input.primal)


@rule("elu", "elu_", inputs="curved")
def elu(called: Called, input: Dual, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    x = input.primal
    return torch.where(x > 0, input.tangent, input.tangent * alpha * torch.exp(x.clamp(max=0)))


@rule("selu", "selu_", inputs="curved")
def selu(called: Called, input: Dual, inplace: bool = False) -> Tensor:
    return _SELU_SCALE * elu(called, input, _SELU_ALPHA)


@rule("celu", "celu_", inputs="curved")
def celu(called: Called, input: Dual, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    x = input.primal
    return torch.where(x > 0, input.tangent, input.tangent * torch.exp(x.clamp(max=0) / alpha))


@rule("hardsigmoid", inputs="constant")
def hardsigmoid(called: Called, input: Dual, inplace: bool = False) -> Tensor:
    return input.tangent * ((input.primal > -3) & (input.primal < 3)) / 6


@rule("hardswish", inputs="curved")
def hardswish(called: Called, input: Dual, inplace: bool = False) -> Tensor:
    """Howard et al. 2019: x·ReLU6(x + 3)/6."""
    x = input.primal
    between = torch.where(x < 3, x / 3 + 0.5, 1)
    return input.tangent * torch.where(x > -3, between, 0)


@rule("hardshrink", "softshrink", inputs="constant")
def shrink(called: Called, input: Dual, lambd: float = 0.5) -> Tensor:
    return input.tangent * (input.primal.abs() > lambd)


@rule("threshold", "threshold_", inputs="constant")
def threshold(called: Called, input: Dual, threshold: float, value: float, inplace: bool = False) -> Tensor:
    return input.tangent * (input.primal > threshold)


@rule("softsign", inputs="curved")
def softsign(called: Called, input: Dual) -> Tensor:
    return input.tangent / (1 + input.primal.abs()).square()


@composition("tanhshrink")
def tanhshrink(function: object, input: Tensor) -> Tensor:
    return input - torch.tanh(input)


@composition("glu")
def glu(function: object, input: Tensor, dim: int = -1) -> Tensor:
    value, gate = input.chunk(2, dim)
    return value * torch.sigmoid(gate)
