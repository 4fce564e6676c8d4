"""`bias_act`: scale, noise, bias, activation, gain and clamp of an image in one pass."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from genfuse import dispatch
from genfuse.names import check_name
from genfuse.ops import check
from genfuse.ops.asked import asks_for_graph
from genfuse.ops.composed_gradient import composed_gradient
from genfuse.ops.conv_checks import check_parameter
from genfuse.ops.library import (
    LIBRARY,
    define,
    fake,
    gradient_limits,
    needs_dispatcher,
    needs_gradient,
    only_recorded,
)
from genfuse.ops.memory import empty_like
from genfuse_kernels.bias_act import reference
from genfuse_kernels.bias_act.spec import ACTIVATIONS, Activation, Settings, layout, sign_tells, stored


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    *,
    scale: Tensor | None = None,
    noise: Tensor | None = None,
    dim: int = 1,
    activation: Activation = "none",
    negative_slope: float = 0.2,
    gain: float = 1.0,
    clamp: float | None = None,
) -> Tensor:
    """activation(x·scale + noise + bias)·gain, within ±clamp (Karras et al. 2020; what style GANs end each layer with).

    x         (N, ...) float32, bfloat16 or float16 (arithmetic in float32), or float64 on `aten`; any dense order of
              memory without a copy
    bias      (C,), C = x.shape[dim]
    scale     (N, C) of x (N, C, ...), as of demodulation; dim is 1 then
    noise     (N, 1, ...) or (1, 1, ...) of x (N, C, ...), the same for all channels; dim is 1 then
    activation   "none", "relu", "leaky_relu" (of negative_slope), "silu", "gelu", "gelu_tanh", "tanh", "sigmoid",
              "softplus", "elu" or "selu"
    clamp     0 or more; where it binds, and where the result is ±clamp, the derivative is 0

    bias, scale and noise are in x's dtype or float32. Returns a tensor like x. Differentiable to any order; the first
    one by the same kernels, which keep the result where its sign tells the derivative (none, ReLU, LeakyReLU without
    scale), and x otherwise. ValueError or TypeError, naming the argument, before anything is computed.
    """
    settings = _checked(x, dim, activation, negative_slope, gain, clamp)
    _check_small(x, bias, scale, noise, settings)
    if not needs_dispatcher(x, bias, scale, noise):
        return _launch(x, bias, scale, noise, settings)
    if only_recorded(x, bias, scale, noise):
        return _differentiable(x, bias, scale, noise, settings)
    out: Tensor = torch.ops.genfuse.bias_act(x, bias, scale, noise, *settings)
    return out


def _checked(
    x: Tensor, dim: int, activation: Activation, negative_slope: float, gain: float, clamp: float | None
) -> Settings:
    check.sample("x", x)
    check.integer("dim", dim)
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"dim is {dim}, expected an axis of x, which has shape {tuple(x.shape)}")
    check_name("activation", activation, ACTIVATIONS)
    check.finite("negative_slope", negative_slope)
    check.finite("gain", gain)
    if clamp is not None:
        check.finite("clamp", clamp)
        if clamp < 0:
            raise ValueError(f"clamp is {clamp}, expected 0 or more, or None for no bound")
    bound = None if clamp is None else float(clamp)
    return Settings(dim % x.ndim, activation, float(negative_slope), float(gain), bound)


def _check_small(
    x: Tensor, bias: Tensor | None, scale: Tensor | None, noise: Tensor | None, settings: Settings
) -> None:
    check_parameter("bias", bias, ((x.shape[settings.dim],),), x)
    for name, tensor in (("scale", scale), ("noise", noise)):
        if tensor is not None and (settings.dim != 1 or x.ndim < 2):
            raise ValueError(
                f"{name} is given, expected dim 1 of x (N, C, ...) beside it; dim is {settings.dim}"
            )
    if scale is not None:
        check_parameter("scale", scale, (tuple(x.shape[:2]),), x)
    if noise is not None:
        space = tuple(x.shape[2:])
        check_parameter("noise", noise, ((x.shape[0], 1, *space), (1, 1, *space)), x)


def dense(x: Tensor, settings: Settings, per_sample: bool) -> Tensor:
    """x itself, or a copy in PyTorch's own order where its memory is none that the kernels know."""
    return x if layout(x, settings.dim, per_sample) is not None else x.contiguous()


def _launch(
    x: Tensor, bias: Tensor | None, scale: Tensor | None, noise: Tensor | None, settings: Settings
) -> Tensor:
    x = dense(x, settings, scale is not None or noise is not None)
    out = empty_like(x)
    launch = dispatch.select("bias_act", x.device, x.dtype)
    launch(out, x, bias, scale, noise, settings)
    return out


def _differentiable(
    x: Tensor, bias: Tensor | None, scale: Tensor | None, noise: Tensor | None, settings: Settings
) -> Tensor:
    inputs = (x, bias, scale, noise)
    chosen = dispatch.resolve("bias_act", x.device, x.dtype, True, gradient_limits(*inputs))
    if chosen in ("aten", "reference"):
        return composed(*inputs, settings)
    out: Tensor = _BiasAct.apply(settings, chosen, *inputs)
    return out


def composed(
    x: Tensor, bias: Tensor | None, scale: Tensor | None, noise: Tensor | None, settings: Settings
) -> Tensor:
    """By the definition, as one call to modes that see PyTorch's calls, such as the recorder of penalties."""
    given = tuple(each for each in (x, bias, scale, noise) if each is not None)
    if has_torch_function(given):
        seen: Tensor = handle_torch_function(composed, given, x, bias, scale, noise, settings)
        return seen
    return reference.bias_act(x, bias, scale, noise, settings)


class _BiasAct(torch.autograd.Function):
    """By our kernels; a gradient of the gradient by PyTorch's."""

    @staticmethod
    def forward(
        ctx: Any,
        settings: Settings,
        backend: str,
        x: Tensor,
        bias: Tensor | None,
        scale: Tensor | None,
        noise: Tensor | None,
    ) -> Tensor:
        out: Tensor
        if needs_dispatcher(x, bias, scale, noise):
            with torch._C._AutoDispatchBelowAutograd():
                out = torch.ops.genfuse.bias_act(x, bias, scale, noise, *settings)
        else:
            out = _launch(x, bias, scale, noise, settings)
        ctx.of_result = scale is None and sign_tells(settings)
        ctx.settings, ctx.backend = stored(settings, x.dtype) if ctx.of_result else settings, backend
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.noise = None if noise is None else (noise.shape, noise.dtype)
        ctx.save_for_backward(*((out, None, None, None) if ctx.of_result else (x, bias, scale, noise)))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[2:]
        if not asks_for_graph(gradient):
            found = _by_kernels(ctx, gradient, needs)
        elif ctx.of_result:
            found = _by_slopes(ctx, gradient, needs)
        else:

            def compose(of: Sequence[Any]) -> Tensor:
                x, bias, scale, noise = of
                return reference.bias_act(x, bias, scale, noise, ctx.settings)

            found = composed_gradient(compose, ctx.saved_tensors, gradient, needs)
        return None, None, *found


def _by_kernels(ctx: Any, gradient: Tensor, needs: tuple[bool, ...]) -> list[Tensor | None]:
    kept, _, scale, _ = ctx.saved_tensors
    before_scale = scale is not None and needs[3]  # what noise's gradient is a sum of
    how = (ctx.of_result, before_scale, needs[1], needs[2], ctx.backend)
    inputs = (gradient, *ctx.saved_tensors)
    run = torch.ops.genfuse.bias_act_backward if needs_dispatcher(*inputs) else _backward
    of_x, of_bias, of_scale = run(*inputs, *ctx.settings, *how)
    found: list[Tensor | None] = [of_x, None, None, None]
    if needs[1]:
        found[1] = of_bias.to(ctx.bias_dtype)
    if needs[2]:
        found[2] = of_scale.to(scale.dtype)
    if needs[3]:
        found[3] = of_noise(of_x, *ctx.noise)
    if before_scale:
        found[0] = of_x * scale.to(kept.dtype).reshape(*scale.shape, *(1,) * (kept.ndim - 2))
    return found


def _by_slopes(ctx: Any, gradient: Tensor, needs: tuple[bool, ...]) -> list[Tensor | None]:
    """With a graph behind them, linear in the gradient: the slopes are constant."""
    wide = ctx.saved_tensors[0].float()
    how = (True, False, False, False, ctx.backend)
    with torch.no_grad():
        slopes, _, _ = torch.ops.genfuse.bias_act_backward(
            torch.ones_like(wide), wide, None, None, None, *ctx.settings, *how
        )
    product = gradient.float() * slopes
    of_x = product.to(gradient.dtype)
    found: list[Tensor | None] = [of_x, None, None, None]
    if needs[1]:
        axes = [axis for axis in range(wide.ndim) if axis != ctx.settings.dim]
        found[1] = (product.sum(axes) if axes else product).to(ctx.bias_dtype)
    if needs[3]:
        found[3] = of_noise(product, *ctx.noise)
    return found


def of_noise(product: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """The gradient of noise of this shape from that of what it was added to."""
    axes = (0, 1) if shape[0] == 1 else 1
    return product.sum(axes, keepdim=True, dtype=torch.float32).to(dtype)


# --- registration ---

_SETTINGS = "int dim, str activation, float negative_slope, float gain, float? clamp"
_SMALL = "Tensor? bias, Tensor? scale, Tensor? noise"

define(f"bias_act(Tensor x, {_SMALL}, {_SETTINGS}) -> Tensor")
define(
    f"bias_act_backward(Tensor gradient, Tensor x, {_SMALL}, {_SETTINGS}, bool of_result, bool before_scale, "
    "bool wants_bias, bool wants_scale, str backend) -> (Tensor, Tensor, Tensor)"
)


@torch.library.impl(LIBRARY, "bias_act", "CPU")
@torch.library.impl(LIBRARY, "bias_act", "CUDA")
def _bias_act(
    x: Tensor, bias: Tensor | None, scale: Tensor | None, noise: Tensor | None, *settings: Any
) -> Tensor:
    return _launch(x, bias, scale, noise, Settings(*settings))


@fake("bias_act")
def _fake(
    x: Tensor, bias: Tensor | None, scale: Tensor | None, noise: Tensor | None, *settings: Any
) -> Tensor:
    return torch.empty_like(dense(x, Settings(*settings), scale is not None or noise is not None))


@torch.library.impl(LIBRARY, "bias_act", "Autograd")
def _autograd(
    x: Tensor, bias: Tensor | None, scale: Tensor | None, noise: Tensor | None, *settings: Any
) -> Tensor:
    inputs = (x, bias, scale, noise)
    if needs_gradient(*inputs):
        return _differentiable(*inputs, Settings(*settings))
    with torch._C._AutoDispatchBelowAutograd():
        plain: Tensor = torch.ops.genfuse.bias_act(*inputs, *settings)
    return plain


@torch.library.impl(LIBRARY, "bias_act_backward", "CPU")
@torch.library.impl(LIBRARY, "bias_act_backward", "CUDA")
def _backward(
    gradient: Tensor, x: Tensor, bias: Tensor | None, scale: Tensor | None, noise: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    settings, (*how, backend) = Settings(*rest[:5]), rest[5:]
    x = dense(x, settings, scale is not None or noise is not None)
    out = empty_like(x)
    if gradient.stride() != x.stride():
        gradient = torch.empty_like(x).copy_(gradient)
    kernels = importlib.import_module(f"genfuse_kernels.bias_act.{backend}_impl")
    launch = dispatch.gradient_launcher("bias_act", backend, kernels.bias_act_gradient, x)
    sums = launch(out, gradient, x, bias, scale, noise, settings, *how)
    nothing = x.new_empty(0, dtype=torch.float32)
    of_bias, of_scale = (nothing if each is None else each for each in sums)
    return out, of_bias, of_scale


@fake("bias_act_backward")
def _fake_backward(
    gradient: Tensor, x: Tensor, bias: Tensor | None, scale: Tensor | None, noise: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    settings, (_, _, wants_bias, wants_scale, _) = Settings(*rest[:5]), rest[5:]
    out = torch.empty_like(dense(x, settings, scale is not None or noise is not None))
    of_bias = x.new_empty(x.shape[settings.dim] if wants_bias else 0, dtype=torch.float32)
    of_scale = x.new_empty(x.shape[:2] if wants_scale else (0,), dtype=torch.float32)
    return out, of_bias, of_scale
