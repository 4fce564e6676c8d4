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
from genfuse.errors import UnsupportedError
from genfuse.ops.asked import asked, tensors_among
from genfuse.ops.autocast import in_autocast, is_autocast
from genfuse.ops.conv_call import Call
from genfuse.ops.conv_checks import check_settings, check_unit
from genfuse.ops.conv_geometry import pair
from genfuse.ops.conv_gradient import gradient_limits
from genfuse.ops.conv_launch import outputs, unkept
from genfuse.ops.library import OURS, are_plain
from genfuse.penalties.activation import Activation, are_hooked
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


class _Reading:
    """What a convolution read, for the gradient of its weights; it can be dropped where none will be asked for."""

    def __init__(self, x: Tensor) -> None:
        self._x: Tensor | None = x.detach()
        self._version = x._version

    def drop(self) -> None:
        self._x = None

    def get(self) -> Tensor:
        assert self._x is not None, "it was dropped"
        if self._x._version != self._version:
            raise UnsupportedError("what a convolution read was edited in place afterwards; edit a copy")
        return self._x


@dataclass(eq=False)
class Convolution:
    """One call's, of (x, weight, bias), x (N, C, H, W) or (N, C, L): what runs in the place of PyTorch's function."""

    settings: Settings
    backend: dispatch.Backend
    _reading: _Reading | None = None
    """of the network's own call"""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        image = in_autocast(x) if is_autocast(x) else x
        if torch.is_grad_enabled():
            return self._run(image, weight, bias, _Reading(image), None)
        if image.ndim == 3:
            return self.made(image.unsqueeze(2), weight, bias).squeeze(2)
        return self.made(image, weight, bias)

    def made(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Of x (N, C, H, W) as the kernels take it, without a graph."""
        y, _ = outputs(x, weight, self.settings, False)
        with unkept(weight):
            launch = dispatch.chosen_launcher("conv_norm_act", self.backend, x)
            launch(y, None, x, weight, bias, self.settings)
        return y

    def in_network(self, x: Tensor, weight: Tensor, bias: Tensor | None, behind: Activation | None) -> Tensor:
        """The network's own call; `behind` is what made x, which then gets the gradient of its own input."""
        image = in_autocast(x) if is_autocast(x) else x
        self._reading = _Reading(image)
        if behind is None or image is not x:
            return self._run(image, weight, bias, self._reading, None)
        return self._run(x.detach(), weight, bias, self._reading, behind)

    def drop_reading(self) -> None:
        """Where nobody will ask the network's own call for the gradient of its weights."""
        if self._reading is not None:
            self._reading.drop()

    def _run(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, reading: _Reading, behind: Activation | None
    ) -> Tensor:
        port = None if behind is None else behind.port
        if x.ndim == 4:
            y: Tensor = _Convolved.apply(self, reading, behind, x, weight, bias, port)
        else:
            port = None if port is None else port.unsqueeze(2)
            y = _Convolved.apply(self, reading, behind, x.unsqueeze(2), weight, bias, port).squeeze(2)
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
        launch = dispatch.gradient_launcher(
            "conv_norm_act", self.backend, kernels.conv_norm_act_gradient, gradient
        )
        with unkept(weight):
            found: dict[str, Tensor] = launch(
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
    if not are_plain(x, weight, bias):
        return call
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
    """x (N, C, H, W), weight and bias as the kernels take them; the port of what made x has x's gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        by: Convolution,
        reading: _Reading,
        behind: Activation | None,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        port: Tensor | None,
    ) -> Tensor:
        ctx.by, ctx.behind, ctx.are_tensors = by, behind, tensors_among((x, weight, bias, port))
        if are_hooked() or by.backend != "cpu":  # others read it for the gradient of data too
            ctx.form, ctx.reading = None, None
            ctx.save_for_backward(x, weight)  # as PyTorch's own
        else:
            ctx.form, ctx.reading = torch.empty_like(x, device="meta"), reading
            ctx.save_for_backward(weight)
        return by.made(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *saved, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, of_port = asked(ctx, ctx.are_tensors)
        wanted = {"x": of_x or of_port, "weight": of_weight, "bias": of_bias}
        if saved:
            (x,) = saved
        else:
            x = ctx.reading.get().view(ctx.form.shape) if of_weight else ctx.form
        found = ctx.by.gradients(gradient, x, weight, {name for name in wanted if wanted[name]})
        if of_bias:
            found["bias"] = found["bias"].to(gradient.dtype)
        if of_port:
            found["port"] = _sloped(found.pop("x"), ctx.behind)
        return None, None, None, *(found.get(name) for name in ("x", "weight", "bias", "port"))


def _sloped(gradient: Tensor, behind: Activation) -> Tensor:
    """The gradient of what was activated, from the result's."""
    shape = gradient.shape
    return behind.sloped_(gradient.view(behind.mask.shape)).view(shape)
