"""Activations and their derivatives for Triton kernels: float32, absolute error below 4e-7, NaN where x is NaN."""

from __future__ import annotations

import triton
import triton.language as tl

_SQRT_HALF = tl.constexpr(0.7071067811865476)
_DENSITY = tl.constexpr(0.3989422804014327)  # 1/√(2π)
_TANH_SCALE = tl.constexpr(0.7978845608028654)  # √(2/π)
_TANH_CUBE = tl.constexpr(0.044715)
_SELU_SCALE = tl.constexpr(1.0507009873554805)
_SELU_ALPHA = tl.constexpr(1.6732632423543772)


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _tanh(x):
    falling = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - falling) / (1.0 + falling)
    return tl.where(x < 0, -size, size)


@triton.jit
def _normal_distribution(x):
    return 0.5 + 0.5 * tl.erf(x * _SQRT_HALF)


@triton.jit
def activated(x, ACTIVATION: tl.constexpr, slope):
    """The activation by the name that `bias_act.spec.ACTIVATIONS` has."""
    if ACTIVATION == "relu":
        y = tl.where(x < 0, 0.0, x)
    elif ACTIVATION == "leaky_relu":
        y = tl.where(x < 0, x * slope, x)
    elif ACTIVATION == "silu":
        y = x * _sigmoid(x)
    elif ACTIVATION == "gelu":
        y = x * _normal_distribution(x)
    elif ACTIVATION == "gelu_tanh":
        y = x * (0.5 + 0.5 * _tanh((x + x * x * x * _TANH_CUBE) * _TANH_SCALE))
    elif ACTIVATION == "tanh":
        y = _tanh(x)
    elif ACTIVATION == "sigmoid":
        y = _sigmoid(x)
    elif ACTIVATION == "softplus":
        y = tl.where(x < 0, 0.0, x) + tl.log(1.0 + tl.exp(-tl.abs(x)))
    elif ACTIVATION == "elu":
        y = tl.where(x < 0, tl.exp(x) - 1.0, x)
    elif ACTIVATION == "selu":
        y = _SELU_SCALE * tl.where(x < 0, _SELU_ALPHA * (tl.exp(x) - 1.0), x)
    else:
        y = x
    return y


@triton.jit
def derivative(x, ACTIVATION: tl.constexpr, slope):
    """Of the activation at x; at a kink that of the left, as PyTorch has it."""
    # Beyond ±100 every derivative has reached its limit, and 0·∞ is not one.
    at = tl.clamp(x, -100.0, 100.0, propagate_nan=tl.PropagateNan.ALL)
    if ACTIVATION == "relu":
        y = tl.where(x > 0, 1.0, tl.where(x <= 0, 0.0, x))
    elif ACTIVATION == "leaky_relu":
        y = tl.where(x > 0, 1.0, tl.where(x <= 0, slope, x))
    elif ACTIVATION == "silu":
        share = _sigmoid(at)
        y = share * (1.0 + at * (1.0 - share))
    elif ACTIVATION == "gelu":
        y = _normal_distribution(at) + at * _DENSITY * tl.exp(-0.5 * at * at)
    elif ACTIVATION == "gelu_tanh":
        t = _tanh((at + at * at * at * _TANH_CUBE) * _TANH_SCALE)
        bend = (1.0 + at * at * (3.0 * _TANH_CUBE)) * _TANH_SCALE
        y = 0.5 + 0.5 * t + 0.5 * at * (1.0 - t * t) * bend
    elif ACTIVATION == "tanh":
        t = _tanh(at)
        y = 1.0 - t * t
    elif ACTIVATION == "sigmoid":
        share = _sigmoid(at)
        y = share * (1.0 - share)
    elif ACTIVATION == "softplus":
        y = _sigmoid(at)
    elif ACTIVATION == "elu":
        y = tl.where(x > 0, 1.0, tl.exp(at))
    elif ACTIVATION == "selu":
        y = _SELU_SCALE * tl.where(x > 0, 1.0, _SELU_ALPHA * tl.exp(at))
    else:
        y = tl.full(x.shape, 1.0, tl.float32)
    return y
