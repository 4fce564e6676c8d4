"""ReLU and LeakyReLU of a recorded network, of which a mask is kept and nothing else.

A convolution that reads what was activated hands its gradient on to the activation's port, multiplied by the slope
already, where it lies: a pass over memory and an image less than through PyTorch's backward. Other readers go through
the result, as ever, and autograd adds up.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse import dispatch
from genfuse.ops.library import OURS, are_plain, gradient_limits
from genfuse.ops.memory import empty_like
from genfuse.penalties.rules import activation as rules
from genfuse.penalties.rules.rule import RULES, Run


class Activation:
    """One call's, of (x, ...): what runs in the place of PyTorch's function."""

    def __init__(self, slope: float, backend: dispatch.Backend) -> None:
        self.slope, self.backend = slope, backend
        self.mask: Tensor
        """where x is positive"""
        self.port: Tensor
        """of the result's shape, without memory: whose gradient is that of x"""

    def __call__(self, x: Tensor, *_: Any, inplace: bool = False) -> Tensor:
        self.mask = x.detach() > 0
        y: Tensor
        y, self.port = _Activated.apply(self.slope, self.backend, self.mask, inplace, x)
        return y

    def sloped_(self, gradient: Tensor) -> Tensor:
        """The gradient of x from that of the result, in its memory."""
        return _sloped(gradient, gradient, self.mask, self.slope, self.backend)


def are_hooked() -> bool:
    """Whether somebody sees to what autograd keeps, as checkpoints do, and counts on what PyTorch's calls keep.

    True where it cannot be told: before torch 2.8.
    """
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is None or hooks(False) is not None


def on_kernels(call: Run) -> Run:
    """A ReLU or LeakyReLU whose tangent our kernels have; other calls as they are."""
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
    return Run(
        Activation(slope, backend), (x, slope) if is_leaky else (x,), {"inplace": True} if inplace else {}
    )


class _Activated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, slope: float, backend: dispatch.Backend, mask: Tensor, inplace: bool, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.how = mask, slope, backend
        if inplace:
            ctx.mark_dirty(x)
        y = F.leaky_relu(x, slope, inplace) if slope else F.relu(x, inplace)
        return y, y.new_empty(()).expand(y.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, of_port: Tensor | None) -> tuple[Tensor | None, ...]:
        found = of_port
        if gradient is not None:
            found = _sloped(empty_like(gradient), gradient, *ctx.how)
            found = found if of_port is None else found.add_(of_port)
        return None, None, None, None, found


def _sloped(out: Tensor, gradient: Tensor, mask: Tensor, slope: float, backend: dispatch.Backend) -> Tensor:
    dispatch.launcher("leaky_relu_tangent", backend)(out, gradient, mask, slope)
    return out
