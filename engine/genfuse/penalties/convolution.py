"""Convolutions of a recorded network on genfuse's kernels: forward, gradients of data, tangents, gradients of weights.

Which ones is decided as `genfuse.optimize` decides in training. A tangent is the same convolution of another image, so
that its gradient by the weights comes from the same kernels.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse import dispatch
from genfuse.ops.asked import asked, tensors_among
from genfuse.ops.autocast import in_autocast, is_autocast
from genfuse.ops.conv_call import Call
from genfuse.ops.conv_checks import check_settings, check_unit
from genfuse.ops.conv_geometry import pair
from genfuse.ops.conv_gradient import gradient_limits
from genfuse.ops.conv_launch import outputs, unkept
from genfuse.ops.library import OURS
from genfuse.penalties.rules.rule import Run
from genfuse_kernels.conv_norm_act.settings import Accuracy, Settings

_ORDINARY = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_FORMS: dict[Any, tuple[tuple[str, ...], int]] = {
    F.conv1d: (_ORDINARY, 1),
    F.conv2d: (_ORDINARY, 2),
    F.conv_transpose1d: (_TRANSPOSED, 1),
    F.conv_transpose2d: (_TRANSPOSED, 2),
}
"""Names of the arguments and axes of space, by function."""


@dataclass(frozen=True)
class Convolution:
    """What runs in the place of PyTorch's function: of (x, weight, bias), x (N, C, H, W) or (N, C, L)."""

    settings: Settings
    backend: dispatch.Backend

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if x.ndim == 3:
            return self(x.unsqueeze(2), weight, bias).squeeze(2)
        image = in_autocast(x) if is_autocast(x) else x
        y: Tensor = _Convolved.apply(self, image, weight, bias)
        return y

    def weight_gradient(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """From that of the result, without a graph."""
        if x.ndim == 3:
            return self.weight_gradient(gradient.unsqueeze(2), x.unsqueeze(2), weight)
        image = in_autocast(x) if is_autocast(x) else x
        return self.gradients(gradient, image, weight, {"weight"})["weight"]

    def gradients(self, gradient: Tensor, x: Tensor, weight: Tensor, needs: set[str]) -> dict[str, Tensor]:
        """Those that are needed of "x", "weight" and "bias", x (N, C, H, W) as the kernels take it."""
        kernels = importlib.import_module(f"genfuse_kernels.conv_norm_act.{self.backend}_gradient")
        with unkept(weight):
            found: dict[str, Tensor] = kernels.conv_norm_act_gradient(
                gradient, x, weight, self.settings, {}, through_stats=False, needs=needs
            )
        return found


def on_kernels(call: Run, accuracy: Accuracy | None) -> Run:
    """The same call by the backend that runs it: the kernels' own, or what PyTorch has where it is PyTorch.

    UnsupportedError where no permitted backend can run it.
    """
    if call.function not in _FORMS:
        return call
    names, axes = _FORMS[call.function]
    given = {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    x, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
    image = in_autocast(x) if is_autocast(x) else x
    limits: dict[dispatch.Backend, str] = {}
    settings = _settings(given, names is _TRANSPOSED, axes, accuracy)
    if settings is None or x.ndim != axes + 2:
        limits = dict.fromkeys(OURS, "padding is named, or x has no batch")
    else:
        whole = image.unsqueeze(2) if axes == 1 else image
        try:
            check_unit(whole, weight, bias, settings, {})
        except (TypeError, ValueError):
            return call  # which says so in PyTorch's words
        limits = gradient_limits(Call(whole, weight, bias, settings, {}, False))
    chosen = dispatch.resolve("conv_norm_act", x.device, image.dtype, True, limits)
    if chosen not in OURS or settings is None:
        return call
    return Run(Convolution(settings, chosen), (x, weight, bias), {})


def _settings(
    options: dict[str, Any], transposed: bool, axes: int, accuracy: Accuracy | None
) -> Settings | None:
    """None for what no unit has."""
    groups = options.pop("groups", 1)
    try:
        pairs: dict[str, Any] = {
            name: pair(name, _plain(value), axes, 0 if "padding" in name else 1)
            for name, value in options.items()
        }
        settings = Settings(**pairs, groups=groups, transposed=transposed, accuracy=accuracy)
        check_settings(settings)
    except (TypeError, ValueError):
        return None
    return settings


def _plain(value: Any) -> Any:
    """One number for a sequence of one, as PyTorch takes it."""
    return value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value


class _Convolved(torch.autograd.Function):
    """x (N, C, H, W), weight and bias as the kernels take them."""

    @staticmethod
    def forward(ctx: Any, by: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.by, ctx.are_tensors = by, tensors_among((x, weight, bias))
        ctx.save_for_backward(x, weight)
        y, _ = outputs(x, weight, by.settings, False)
        with unkept(weight):
            dispatch.launcher("conv_norm_act", by.backend)(y, None, x, weight, bias, by.settings)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        names = ("x", "weight", "bias")
        needs = {name for name, needed in zip(names, asked(ctx, ctx.are_tensors), strict=True) if needed}
        found = ctx.by.gradients(gradient, x, weight, needs)
        if "bias" in found:
            found["bias"] = found["bias"].to(gradient.dtype)
        return None, *(found.get(name) for name in names)
