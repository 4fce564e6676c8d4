"""`norm_act` where gradients are needed, by kernels of ours: of C++ on the CPU, of Triton or CUDA on GPUs.

Norm, activation and dropout are one step, an activation of the output is one more, pooling is PyTorch's. Of the first x
and its statistics are kept; of the second the result where it tells the derivative, else what was activated.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse import dispatch
from genfuse.ops.asked import asked, asks_for_graph, tensors_among
from genfuse.ops.composed_gradient import composed_gradient
from genfuse.ops.dropout import dropped
from genfuse.ops.norm_stats import stats_of
from genfuse_kernels.conv_norm_act.aten_norm import normalised
from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings
from genfuse_kernels.conv_norm_act.spec import goes_by_channels
from genfuse_kernels.conv_norm_act.unit_gradient import READ
from genfuse_kernels.norm_act import reference

TENSORS = (
    "norm_weight",
    "norm_bias",
    "running_mean",
    "running_var",
    "stats",
    "film_scale",
    "film_shift",
    "residual",
    "seeds",
)
"""The optional tensors beside x, in order."""

Launch = Callable[[Tensor, Settings, NormTensors, bool], tuple[Tensor, Tensor]]

_NAMES = ("x", *TENSORS)
_OPTIONS = 4  # inputs of `_Pass` that are no tensors


def differentiable(
    launch: Launch, backend: dispatch.Backend, x: Tensor, settings: Settings, tensors: NormTensors
) -> Tensor:
    """The output with a graph behind it; `launch` runs the op, and the gradients are by the backend's kernels."""
    s, given = settings, dict(tensors)
    inner = s._replace(out_activation="none", pool=(1, 1))
    plain = (s.norm, s.activation, s.dropout, s.scale) == ("none", "none", 0, 1)
    y = x
    if not plain or any(tensor is not None for tensor in given.values()):
        own = goes_by_channels(s, tensors.get("running_mean")) and given.get("stats") is None
        if own:
            given["stats"] = stats_of(x, None)
        y = _Pass.apply(launch, backend, inner, own, x, *(given.get(name) for name in TENSORS))
    if s.out_activation != "none":
        of_output = Settings(activation=s.out_activation, negative_slope=s.negative_slope)
        y = _Pass.apply(launch, backend, of_output, False, y, *(None,) * len(TENSORS))
    return y if s.pool == (1, 1) else F.avg_pool2d(y, s.pool)


def _tells_derivative(s: Settings) -> bool:
    """Whether an activation's result has the sign of what was activated, which is all that its derivative needs."""
    return s.activation == "relu" or (s.activation == "leaky_relu" and s.negative_slope > 0)


class _Pass(torch.autograd.Function):
    """`norm_act` without an output's activation and without pooling; inputs by `_NAMES`."""

    @staticmethod
    def forward(
        ctx: Any,
        launch: Launch,
        backend: dispatch.Backend,
        settings: Settings,
        own_stats: bool,
        *inputs: Any,
    ) -> Tensor:
        x, *rest = inputs
        tensors: Any = dict(zip(TENSORS, rest, strict=True))
        y, _ = launch(x, settings, tensors, False)
        ctx.settings, ctx.own_stats, ctx.backend = settings, own_stats, backend
        ctx.are_tensors = tensors_among(inputs)
        alone = settings.norm == "none" and all(tensor is None for tensor in rest)
        kept = (
            y if alone and settings.scale == 1 and not settings.dropout and _tells_derivative(settings) else x
        )
        ctx.is_output = kept is y
        without = {name: None if name == "residual" else tensor for name, tensor in tensors.items()}
        ctx.save_for_backward(kept, *without.values())
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, needs = list(ctx.saved_tensors), asked(ctx, ctx.are_tensors)
        found = (_of_composed if asks_for_graph(gradient) else _of_kernels)(ctx, gradient, inputs, needs)
        if needs[_NAMES.index("residual")]:
            found[_NAMES.index("residual")] = gradient * ctx.settings.scale
        return (*(None,) * _OPTIONS, *found)


def _of_kernels(
    ctx: Any, gradient: Tensor, inputs: list[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    kernels = importlib.import_module(f"genfuse_kernels.norm_act.{ctx.backend}_gradient")
    x, *rest = inputs
    tensors: Any = dict(zip(TENSORS, rest, strict=True))
    wanted = [name for name, needed in zip(_NAMES, needs, strict=True) if needed and name in READ]
    launch = dispatch.gradient_launcher("norm_act", ctx.backend, kernels.norm_act_gradient, x)
    found: dict[str, Tensor] = launch(
        gradient, x, ctx.settings, tensors, through_stats=ctx.own_stats, needs=wanted
    )
    return [found.get(name) for name in _NAMES]


def _of_composed(
    ctx: Any, gradient: Tensor, inputs: list[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    """With a graph behind them, of PyTorch's ops composed."""

    def compose(of: Sequence[Tensor | None]) -> Tensor:
        x, *rest = of
        tensors: Any = dict(zip(TENSORS, rest, strict=True))
        if ctx.own_stats:
            tensors["stats"] = None
        y = reference.norm_act(x, ctx.settings, **tensors, normalise=normalised, drop=dropped)  # type: ignore[arg-type]
        return y.to(x.dtype)  # type: ignore[union-attr]

    return composed_gradient(compose, inputs, gradient, needs)
