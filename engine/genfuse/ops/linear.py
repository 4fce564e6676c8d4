"""`linear`: a matrix product with activation before, and bias, residual, scale and activation behind it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.autocast import in_autocast, is_autocast
from genfuse.ops.conv_checks import check_parameter, check_settings
from genfuse.ops.conv_norm_act import unit as convolution
from genfuse.ops.library import (
    LIBRARY,
    OURS,
    define,
    fake,
    gradient_limits,
    needs_dispatcher,
    needs_gradient,
    only_recorded,
)
from genfuse.ops.memory import empty
from genfuse_kernels.conv_norm_act.settings import Activation, Settings
from genfuse_kernels.linear import reference


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Activation = "none",
    negative_slope: float = 0.01,
    residual: Tensor | None = None,
    scale: float = 1.0,
    out_activation: Activation = "none",
) -> Tensor:
    """out_activation((activation(x)·weightᵀ + bias + residual)·scale).

    x          (..., C) float32, bfloat16 or float16, or any dtype on `aten`
    weight     (K, C), bias (K,), in x's dtype or float32
    residual   (..., K) like x

    In an autocast region float32 rows are read in its dtype.
    Returns (..., K). A row's bits depend on that row alone, which `torch.nn.functional.linear` does not promise.
    Differentiable: on GPUs by the kernels of the unit `conv_norm_act`, of which it is the 1x1 convolution, and else by
    PyTorch's own. ValueError or TypeError, naming the argument, before anything is computed.
    """
    settings = Settings(
        activation=activation, negative_slope=negative_slope, scale=scale, out_activation=out_activation
    )
    check_settings(settings)
    return unit(x, weight, bias, settings, residual)


def unit(
    x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings, residual: Tensor | None = None
) -> Tensor:
    """`linear` for callers that keep their settings, checked once."""
    _check(x, weight, bias, residual)
    if is_autocast(x):
        x, residual = in_autocast(x), in_autocast(residual)
    if needs_dispatcher(x, weight, bias, residual):
        if only_recorded(x, weight, bias, residual):
            return _differentiable(x, weight, bias, settings, residual)
        s = settings
        result: Tensor = torch.ops.genfuse.linear(
            x, weight, bias, residual, s.activation, s.negative_slope, s.scale, s.out_activation
        )
        return result
    return _launch(x, weight, bias, settings, residual)


def _launch(
    x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings, residual: Tensor | None
) -> Tensor:
    inputs, outputs = x.shape[-1], weight.shape[0]
    rows = math.prod(x.shape[:-1])
    out = empty(x, (rows, outputs), x.dtype)
    if rows:
        added = None if residual is None else residual.reshape(rows, outputs)
        launch = dispatch.select("linear", x.device, x.dtype)
        launch(out, x.reshape(rows, inputs), weight, bias, settings, added)
    return out.view(*x.shape[:-1], outputs)


def _differentiable(
    x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings, residual: Tensor | None
) -> Tensor:
    inputs = (x, weight, bias, residual)
    chosen = dispatch.resolve("linear", x.device, x.dtype, True, gradient_limits(*inputs))
    if chosen not in OURS or 0 in x.shape:
        return reference.linear(x, weight, bias, settings, residual)
    images = {} if residual is None else {"residual": _image(residual)}
    y, _ = convolution(_image(x), weight[:, :, None, None], bias, settings, images)  # type: ignore[arg-type]
    return y[0, :, :, 0].t().reshape(*x.shape[:-1], weight.shape[0])


def _image(x: Tensor) -> Tensor:
    """Rows as the pixels of a channels-last image (1, C, M, 1)."""
    return x.reshape(-1, x.shape[-1]).t()[None, :, :, None]


define(
    "linear(Tensor x, Tensor weight, Tensor? bias, Tensor? residual, str activation, float negative_slope, "
    "float scale, str out_activation) -> Tensor"
)


class Call(NamedTuple):
    """The op's arguments, sorted."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    settings: Settings
    residual: Tensor | None

    @classmethod
    def of(cls, arguments: tuple[Any, ...]) -> Call:
        x, weight, bias, residual, activation, slope, scale, out_activation = arguments
        settings = Settings(
            activation=activation, negative_slope=slope, scale=scale, out_activation=out_activation
        )
        return cls(x, weight, bias, settings, residual)


@torch.library.impl(LIBRARY, "linear", "CPU")
@torch.library.impl(LIBRARY, "linear", "CUDA")
def _linear(*arguments: Any) -> Tensor:
    return _launch(*Call.of(arguments))


@fake("linear")
def _fake(*arguments: Any) -> Tensor:
    x, weight = arguments[:2]
    out: Tensor = x.new_empty((*x.shape[:-1], weight.shape[0]))
    return out


@torch.library.impl(LIBRARY, "linear", "Autograd")
def _autograd(*arguments: Any) -> Tensor:
    call = Call.of(arguments)
    inputs = (call.x, call.weight, call.bias, call.residual)
    if needs_gradient(*inputs):
        return _differentiable(*call)
    with torch._C._AutoDispatchBelowAutograd():
        result: Tensor = torch.ops.genfuse.linear(*arguments)
    return result


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> None:
    check.sample("x", x)
    check.dense("weight", weight, "(K, C)")
    if weight.ndim != 2 or min(weight.shape) < 1 or weight.shape[1] != x.shape[-1]:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}, expected (K, {x.shape[-1]}): x has shape {tuple(x.shape)}"
        )
    check_parameter("weight", weight, (tuple(weight.shape),), x)
    check_parameter("bias", bias, ((weight.shape[0],),), x)
    check.like("residual", residual, x, (*x.shape[:-1], weight.shape[0]))
