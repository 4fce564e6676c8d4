"""`conv_norm_act` where gradients are needed.

Forward and backward run our kernels, of C++ on the CPU, of Triton and CUDA on GPUs. What is kept is x, skip, the
weights and small tensors, and the statistics of each channel: normalised and activated values are computed anew while
backward reads. A gradient of the gradient (`create_graph=True`) is taken of PyTorch's own ops composed, and so is
everything that the kernels lack.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import library
from genfuse.ops.asked import asked, asks_for_graph, tensors_among
from genfuse.ops.composed_gradient import composed_gradient
from genfuse.ops.conv_call import NAMES, SCHEMA, TENSORS, Call
from genfuse.ops.conv_launch import launch_unkept, limits, unkept
from genfuse.ops.dropout import dropped
from genfuse.ops.fan_out import Reader, fan_out
from genfuse.ops.library import LIBRARY, OURS, define, fake, needs_dispatcher
from genfuse.ops.norm_act import unit as norm_act_unit
from genfuse.ops.norm_stats import stats_of
from genfuse.ops.output_stats import differentiable_stats
from genfuse.ops.recompute import with_first_as
from genfuse_kernels.conv_norm_act import reference
from genfuse_kernels.conv_norm_act.aten_norm import normalised
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors
from genfuse_kernels.conv_norm_act.spec import goes_by_channels

_OPTIONS = 4
"""Inputs of `_Unit` that are no tensors."""

_IMAGES = ("x", "skip", "residual", "residual_skip")


def differentiable(
    call: Call, measured: bool = False, recipe: Callable[[], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Output and its statistics, empty where not wanted, with a graph behind them.

    measured  the norm's statistics are those of the images that it reads, and depend on them
    recipe    makes x again in backward, for which our kernels do not keep it then
    """
    chosen = dispatch.resolve("conv_norm_act", call.x.device, call.x.dtype, True, gradient_limits(call))
    if chosen not in OURS:
        return composed(call.measuring() if measured else call)
    s = call.settings
    if s.out_activation == "none" and s.pool == (1, 1):
        return _by_kernels(call, chosen, measured, recipe)
    # The gradient of an output's activation is a pass of its own, and so is the activation then.
    plain = s._replace(out_activation="none", pool=(1, 1))
    y, _ = _by_kernels(call._replace(settings=plain, return_stats=False), chosen, measured, recipe)
    output = Settings(out_activation=s.out_activation, negative_slope=s.negative_slope, pool=s.pool)
    return norm_act_unit(y, output, {}, call.return_stats)


def gradient_limits(call: Call) -> dict[dispatch.Backend, str]:
    """Why backends do not run this call where it needs gradients."""
    return limits(call.x, call.weight, call.settings, gradients=True) | library.gradient_limits(*call.inputs)


def composed(call: Call) -> tuple[Tensor, Tensor]:
    """By PyTorch's own differentiable ops."""
    x, weight, bias, settings, tensors, return_stats = call
    y = reference.conv_norm_act(x, weight, bias, settings, **tensors, normalise=normalised, drop=dropped)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    stats = reference.channel_stats(y.to(dtype)) if return_stats else x.new_empty(0, dtype=dtype)
    return y.to(x.dtype), stats


def _by_kernels(
    call: Call, backend: dispatch.Backend, measured: bool, recipe: Callable[[], Tensor] | None
) -> tuple[Tensor, Tensor]:
    if call.tensors.get("residual") is call.x:
        x, residual = fan_out(call.x, 2)
        call = call._replace(x=x, tensors={**call.tensors, "residual": residual})
    tensors, s = call.tensors, call.settings
    stats = tensors.get("stats")
    own = goes_by_channels(s, tensors.get("running_mean")) and (measured or stats is None)
    if own:
        found = stats_of(call.x, tensors.get("skip")) if stats is None else stats.detach()
        tensors = {**tensors, "stats": found}
    inputs = call._replace(tensors=tensors).inputs
    y, y_stats = with_first_as(recipe, lambda: _Unit.apply(s, call.return_stats, own, backend, *inputs))
    return y, differentiable_stats(y, y_stats) if call.return_stats else y_stats


class _Unit(torch.autograd.Function):
    """A unit without an output's activation and without pooling; inputs by `NAMES`."""

    @staticmethod
    def forward(
        ctx: Any,
        settings: Settings,
        return_stats: bool,
        own_stats: bool,
        backend: dispatch.Backend,
        *inputs: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        of = dict(zip(NAMES, inputs, strict=True))
        result = launch_unkept(settings, return_stats, inputs)
        ctx.set_materialize_grads(False)
        ctx.settings, ctx.own_stats, ctx.backend = settings, own_stats, backend
        ctx.are_tensors = tensors_among(inputs)
        ctx.readers = {name: reader for name in _IMAGES if (reader := Reader.of(of[name])) is not None}
        unread = ["bias", "shift"] + ([] if of["residual_weight"] is not None else ["residual"])
        kept = [None if name in unread else tensor for name, tensor in of.items()]
        ctx.save_for_backward(*kept)
        ctx.mark_non_differentiable(result[1])
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return (None,) * (_OPTIONS + len(NAMES))
        inputs, needs = list(ctx.saved_tensors), asked(ctx, ctx.are_tensors)
        if asks_for_graph(gradient):
            found = _of_composed(gradient, inputs, ctx.settings, ctx.own_stats, needs)
        else:
            found = _of_kernels(
                gradient, inputs, ctx.settings, ctx.own_stats, ctx.backend, needs, ctx.readers
            )
        return (*(None,) * _OPTIONS, *found)


def _of_kernels(
    gradient: Tensor,
    inputs: list[Tensor | None],
    settings: Settings,
    own_stats: bool,
    backend: dispatch.Backend,
    needs: tuple[bool, ...],
    readers: Mapping[str, Reader],
) -> list[Tensor | None]:
    """The gradients by our kernels; of images that others read too, with what these have found."""
    of: Any = dict(zip(NAMES, inputs, strict=True))
    with unkept(of["weight"]):
        if needs_dispatcher(gradient, *inputs):
            made = torch.ops.genfuse.conv_norm_act_backward(
                gradient, *inputs[:2], *inputs[3:], *settings, own_stats, backend, list(needs)
            )
            return [t if needed else None for t, needed in zip(made, needs, strict=True)]
        tensors: Any = {name: of[name] for name in TENSORS}
        reading = {name: reader for name, reader in readers.items() if needs[NAMES.index(name)]}
        if "residual" in reading and of["residual_weight"] is None and settings.scale == 1:
            reading.pop("residual").leave(gradient)  # before x's is written
            needs = tuple(needed and name != "residual" for name, needed in zip(NAMES, needs, strict=True))
        taken = {name: reader.take() for name, reader in reading.items() if name in ("x", "skip")}
        added = {name: left for name, left in taken.items() if left is not None}
        found = _launch(gradient, of["x"], of["weight"], settings, tensors, own_stats, backend, needs, added)
    for name, reader in reading.items():
        reader.leave(found.pop(name))
    return [found.get(name) for name in NAMES]


def _launch(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    settings: Settings,
    tensors: UnitTensors,
    own_stats: bool,
    backend: dispatch.Backend,
    needs: Sequence[bool],
    added: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """Those that are needed, by name."""
    kernels = importlib.import_module(f"genfuse_kernels.conv_norm_act.{backend}_gradient")
    wanted = {name for name, needed in zip(NAMES, needs, strict=True) if needed}
    launch = dispatch.gradient_launcher("conv_norm_act", backend, kernels.conv_norm_act_gradient, gradient)
    found: dict[str, Tensor] = launch(
        gradient, x, weight, settings, tensors, through_stats=own_stats, needs=wanted, added=added
    )
    return found


def _of_composed(
    gradient: Tensor,
    inputs: list[Tensor | None],
    settings: Settings,
    own_stats: bool,
    needs: tuple[bool, ...],
) -> list[Tensor | None]:
    """The gradients with a graph behind them, of the same unit composed of PyTorch's ops.

    What is added to the convolution has no part in them but where it is a convolution itself.
    """

    def compose(of: Sequence[Tensor | None]) -> Tensor:
        tensors: Any = dict(zip(NAMES, of, strict=True))
        x, weight, _ = (tensors.pop(name) for name in ("x", "weight", "bias"))
        if own_stats:
            tensors["stats"] = None
        return composed(Call(x, weight, None, settings, tensors, False))[0]

    found = composed_gradient(compose, inputs, gradient, needs)
    of = dict(zip(NAMES, inputs, strict=True))
    added = gradient * settings.scale
    if needs[NAMES.index("residual")] and of["residual_weight"] is None:
        found[NAMES.index("residual")] = added
    if needs[NAMES.index("shift")]:
        found[NAMES.index("shift")] = added.sum((2, 3))
    if needs[NAMES.index("bias")]:
        found[NAMES.index("bias")] = added.sum((0, 2, 3))
    return found


# --- registration ---

define(
    f"conv_norm_act_backward(Tensor gradient, Tensor x, Tensor weight, {SCHEMA}, bool own_stats, str backend, "
    "bool[] needs) -> Tensor[]"
)


@torch.library.impl(LIBRARY, "conv_norm_act_backward", "CPU")
@torch.library.impl(LIBRARY, "conv_norm_act_backward", "CUDA")
def _backward(*arguments: Any) -> list[Tensor]:
    gradient, x, weight, *rest, own_stats, backend, needs = arguments
    call = Call.of((x, weight, None, *rest, False))
    found = _launch(gradient, x, weight, call.settings, call.tensors, own_stats, backend, needs)
    nothing = x.new_empty(0)
    return [found.get(name, nothing) for name in NAMES]


@fake("conv_norm_act_backward")
def _fake_backward(*arguments: Any) -> list[Tensor]:
    gradient, x, weight, *rest, _, _, needs = arguments
    call = Call.of((x, weight, None, *rest, False))
    channels = gradient.shape[1]
    shapes = {"bias": (channels,), "shift": (x.shape[0], channels), "residual": gradient.shape}
    found = []
    for name, tensor, needed in zip(NAMES, call.inputs, needs, strict=True):
        if not needed:
            found.append(x.new_empty(0))
        elif tensor is not None:
            found.append(torch.empty_like(tensor))
        else:
            found.append(gradient.new_empty(shapes[name]))
    return found
