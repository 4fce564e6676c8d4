"""ReLU and LeakyReLU of a recorded network, of which a mask is kept and nothing else.

A convolution that reads what was activated hands its gradient on to the activation's port, multiplied by the slope
already, where it lies: a pass over memory and an image less than through PyTorch's backward. Other readers go through
the result, as ever, and autograd adds up. Bias, noise and gain of `bias_act` come along with the activation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse import dispatch
from genfuse.ops.asked import asked, tensors_among
from genfuse.ops.bias_act import dense, of_noise
from genfuse.ops.library import OURS, are_plain, gradient_limits
from genfuse.ops.memory import empty_like
from genfuse.penalties.rules import activation as rules
from genfuse.penalties.rules import biased_activation as biased_rules
from genfuse.penalties.rules.rule import RULES, Run
from genfuse_kernels.bias_act.spec import Settings


class Slopes(NamedTuple):
    """Of an activation, and the backend that multiplies by them."""

    negative: float
    positive: float
    backend: dispatch.Backend

    def times(self, out: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        """Fills `out`, which may be the gradient."""
        launch = dispatch.chosen_launcher("leaky_relu_tangent", self.backend, gradient)
        launch(out, gradient, mask, self.negative, self.positive)
        return out


class Activation:
    """One call's, of (x, ...): what runs in the place of PyTorch's function."""

    def __init__(self, slopes: Slopes) -> None:
        self.slopes = slopes
        self.mask: Tensor
        """where the result is positive"""
        self.port: Tensor
        """of the result's shape, without memory: whose gradient is that of what was activated"""

    def __call__(self, x: Tensor, *_: Any, inplace: bool = False) -> Tensor:
        self.mask = x.detach() > 0
        y: Tensor
        y, self.port = _Activated.apply(self.slopes, self.mask, inplace, x)
        return y

    def sloped_(self, gradient: Tensor) -> Tensor:
        """The gradient of what was activated from that of the result, in its memory."""
        return self.slopes.times(gradient, gradient, self.mask)


class BiasedActivation(Activation):
    """One call's, of (x, bias, noise, settings): `bias_act` in one pass over memory, and a byte an element of mask."""

    def __init__(self, settings: Settings, slopes: Slopes, backend: dispatch.Backend) -> None:
        super().__init__(slopes)
        self._settings, self._backend = settings, backend

    def __call__(self, x: Tensor, *given: Any, inplace: bool = False) -> Tensor:
        bias, noise, _ = given
        image = dense(x.detach(), self._settings, noise is not None)
        made = empty_like(image)
        dispatch.chosen_launcher("bias_act", self._backend, image)(
            made, image, bias, None, noise, self._settings
        )
        self.mask = made > 0
        y: Tensor
        y, self.port = _Biased.apply((made, self.slopes, self.mask), self._settings.dim, x, bias, noise)
        return y


def are_hooked() -> bool:
    """Whether somebody sees to what autograd keeps, as checkpoints do, and counts on what PyTorch's calls keep.

    True where it cannot be told: before torch 2.8.
    """
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is None or hooks(False) is not None


def on_kernels(call: Run) -> Run:
    """A ReLU or LeakyReLU, alone or of `bias_act`, whose tangent our kernels have; other calls as they are."""
    if call.function is biased_rules.biased_activation:
        return _biased(call)
    rule = RULES.get(call.function)
    if rule is None or rule.tangent not in (rules.relu, rules.leaky_relu) or are_hooked():
        return call
    x, *rest = call.args or (call.kwargs["input"],)
    inplace = rule.is_in_place(call.function, call.args, call.kwargs)
    is_leaky = rule.tangent is rules.leaky_relu
    slope = call.kwargs.get("negative_slope", rest[0] if rest else 0.01) if is_leaky else 0.0
    backend = dispatch.resolve("leaky_relu_tangent", x.device, x.dtype, limits=gradient_limits(x))
    if backend not in OURS or slope < 0 or not are_plain(x):
        return call
    by = Activation(Slopes(slope, 1.0, backend))
    return Run(by, (x, slope) if is_leaky else (x,), {"inplace": True} if inplace else {})


def _biased(call: Run) -> Run:
    x, bias, noise, settings = call.args
    limits = gradient_limits(x, bias, noise)
    backend = dispatch.resolve("bias_act", x.device, x.dtype, True, limits)
    of_slopes = dispatch.resolve("leaky_relu_tangent", x.device, x.dtype, limits=limits)
    if backend not in OURS or of_slopes not in OURS or not are_plain(x, bias, noise) or are_hooked():
        return call
    slopes = Slopes(*biased_rules.slopes(settings), of_slopes)
    return Run(BiasedActivation(settings, slopes, backend), call.args, {})


class _Activated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, slopes: Slopes, mask: Tensor, inplace: bool, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.how = slopes, mask
        if inplace:
            ctx.mark_dirty(x)
        y = F.leaky_relu(x, slopes.negative, inplace) if slopes.negative else F.relu(x, inplace)
        return y, y.new_empty(()).expand(y.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, of_port: Tensor | None) -> tuple[Tensor | None, ...]:
        slopes, mask = ctx.how
        return None, None, None, _of_activated(slopes, mask, gradient, of_port)


class _Biased(torch.autograd.Function):
    """What was made of x, bias and noise, with their gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        made: tuple[Tensor, Slopes, Tensor],
        dim: int,
        x: Tensor,
        bias: Tensor | None,
        noise: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        y, *ctx.how = made
        ctx.dim, ctx.are_tensors = dim, tensors_among((x, bias, noise))
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.noise = None if noise is None else (noise.shape, noise.dtype)
        return y, y.new_empty(()).expand(y.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, of_port: Tensor | None) -> tuple[Tensor | None, ...]:
        _, of_bias, of_noise_too = asked(ctx, ctx.are_tensors)
        slopes, mask = ctx.how
        found = _of_activated(slopes, mask, gradient, of_port)
        sums: list[Tensor | None] = [None, None]
        if found is not None and of_bias:
            axes = [axis for axis in range(found.ndim) if axis != ctx.dim]
            whole = found.sum(axes, dtype=torch.float32) if axes else found
            sums[0] = whole.to(ctx.bias_dtype)
        if found is not None and of_noise_too:
            sums[1] = of_noise(found, *ctx.noise)
        return None, None, found, *sums


def _of_activated(
    slopes: Slopes, mask: Tensor, gradient: Tensor | None, of_port: Tensor | None
) -> Tensor | None:
    """The gradient of what was activated: from that of the result, and what convolutions handed on."""
    if gradient is None:
        return of_port
    found = slopes.times(empty_like(gradient), gradient, mask)
    return found if of_port is None else found.add_(of_port)
