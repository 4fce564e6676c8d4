"""`norm_act`: norm, activation and residual in one pass, where no convolution follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.conv_checks import check_axes, check_norm, check_parameter, check_seeds, check_settings
from genfuse.ops.conv_geometry import pair, pictures
from genfuse.ops.dropout import dropped
from genfuse.ops.library import LIBRARY, OURS, define, fake, needs_dispatcher, needs_gradient, only_recorded
from genfuse.ops.memory import empty, empty_stats
from genfuse.ops.norm_act_gradient import TENSORS, differentiable
from genfuse_kernels.conv_norm_act.aten_norm import normalised
from genfuse_kernels.conv_norm_act.reference import channel_stats
from genfuse_kernels.conv_norm_act.settings import Activation, Norm, NormTensors, Pair, Settings
from genfuse_kernels.norm_act import reference


def norm_act(
    x: Tensor,
    *,
    norm: Norm = "none",
    num_groups: int = 1,
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    eps: float = 1e-5,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    stats: Tensor | None = None,
    film_scale: Tensor | None = None,
    film_shift: Tensor | None = None,
    activation: Activation = "none",
    negative_slope: float = 0.01,
    dropout: float = 0.0,
    dropout_stream: int = 0,
    seeds: Tensor | None = None,
    residual: Tensor | None = None,
    scale: float = 1.0,
    out_activation: Activation = "none",
    pool: int | tuple[int, ...] = 1,
    return_stats: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """pool(out_activation((dropout(activation(norm(x))) + residual)·scale)).

    x, residual   (N, C, H, W) or (N, C, L) alike, float32, bfloat16 or float16, or any dtype on `aten`
    Everything else as in `conv_norm_act`. Returns a tensor like x, (N, C, H//2, W//2) with pool=2; with return_stats
    also the mean and biased variance over space of it, (N, C, 2) float32. Differentiable, twice too; backward keeps
    x and its statistics, and of an activated output one image more.
    ValueError or TypeError, naming the argument, before anything is computed.
    """
    check_axes(x)
    settings = Settings(
        norm=norm,
        num_groups=num_groups,
        eps=eps,
        activation=activation,
        negative_slope=negative_slope,
        dropout=dropout,
        dropout_stream=dropout_stream,
        scale=scale,
        out_activation=out_activation,
        pool=pair("pool", pool, x.ndim - 2),
    )
    check_settings(settings)
    check.flag("return_stats", return_stats)
    tensors: NormTensors = {
        "norm_weight": norm_weight,
        "norm_bias": norm_bias,
        "running_mean": running_mean,
        "running_var": running_var,
        "stats": stats,
        "film_scale": film_scale,
        "film_shift": film_shift,
        "residual": residual,
        "seeds": seeds,
    }
    y, out_stats = unit(x, settings, tensors, return_stats)
    return (y, out_stats) if return_stats else y


def unit(
    x: Tensor, settings: Settings, tensors: NormTensors, return_stats: bool = False
) -> tuple[Tensor, Tensor]:
    """`norm_act` for callers that keep their settings, checked once; those of a sequence have height 1."""
    check_axes(x)
    if x.ndim == 4:
        return _unit(x, settings, tensors, return_stats)
    y, stats = _unit(x.unsqueeze(2), settings, pictures(tensors), return_stats)
    return y.squeeze(2), stats


def _unit(x: Tensor, settings: Settings, tensors: NormTensors, return_stats: bool) -> tuple[Tensor, Tensor]:
    """Of a picture."""
    _check(x, settings, tensors)  # type: ignore[arg-type]
    given: list[Any] = [tensors.get(name) for name in TENSORS]
    if needs_dispatcher(x, *given):
        if only_recorded(x, *given) and (chosen := _chosen(x, {})) in OURS:
            y = differentiable(_launch, chosen, x, settings, tensors)
            return y, _stats_of_output(y, x, return_stats)
        s = settings
        result: tuple[Tensor, Tensor] = torch.ops.genfuse.norm_act(
            x, *given, s.norm, s.num_groups, s.eps, s.activation, s.negative_slope, s.dropout, s.dropout_stream,
            s.scale, s.out_activation, s.pool, return_stats,
        )  # fmt: skip
        return result
    return _launch(x, settings, tensors, return_stats)


_TRACED: dict[dispatch.Backend, str] = dict.fromkeys(
    OURS, "a traced or transformed call that needs gradients composes PyTorch's own kernels"
)


def _chosen(x: Tensor, limits: dict[dispatch.Backend, str]) -> dispatch.Backend:
    """The backend of a call that needs gradients."""
    return dispatch.resolve("norm_act", x.device, x.dtype, True, limits)


def composed(call: Call) -> tuple[Tensor, Tensor]:
    """By PyTorch's own differentiable ops."""
    y = reference.norm_act(call.x, call.settings, **call.tensors, normalise=normalised, drop=dropped)
    return y.to(call.x.dtype), _stats_of_output(y, call.x, call.return_stats)


def _stats_of_output(y: Tensor, x: Tensor, return_stats: bool) -> Tensor:
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return channel_stats(y.to(dtype)) if return_stats else y.new_empty(0, dtype=dtype)


def _launch(x: Tensor, settings: Settings, tensors: NormTensors, return_stats: bool) -> tuple[Tensor, Tensor]:
    out, stats_out = _outputs(x, settings.pool, return_stats)
    launch = dispatch.select("norm_act", x.device, x.dtype)
    if x.shape[0]:
        launch(out, stats_out if return_stats else None, x, settings, **tensors)
    return out, stats_out


def _outputs(x: Tensor, pool: Pair, return_stats: bool) -> tuple[Tensor, Tensor]:
    last = x.stride(1) == 1 and x.shape[1] > 1
    batch, channels, height, width = x.shape
    shape = (batch, channels, height // pool[0], width // pool[1])
    return empty(x, shape, x.dtype, channels_last=last), empty_stats(x, channels, return_stats)


# --- registration ---

define(
    "norm_act(Tensor x, "
    + ", ".join(f"Tensor? {name}" for name in TENSORS)
    + ", str norm, int num_groups, float eps, str activation, float negative_slope, float dropout, int dropout_stream, "
    "float scale, str out_activation, int[2] pool, bool return_stats) -> (Tensor, Tensor)"
)


class Call(NamedTuple):
    """The op's arguments, sorted."""

    x: Tensor
    settings: Settings
    tensors: NormTensors
    return_stats: bool

    @classmethod
    def of(cls, arguments: tuple[Any, ...]) -> Call:
        x, *rest, return_stats = arguments
        tensors: Any = dict(zip(TENSORS, rest, strict=False))
        norm, num_groups, eps, activation, slope, dropout, stream, scale, out_activation, pool = rest[
            len(TENSORS) :
        ]
        settings = Settings(
            norm=norm,
            num_groups=num_groups,
            eps=eps,
            activation=activation,
            negative_slope=slope,
            dropout=dropout,
            dropout_stream=stream,
            scale=scale,
            out_activation=out_activation,
            pool=tuple(pool),
        )
        return cls(x, settings, tensors, return_stats)


@torch.library.impl(LIBRARY, "norm_act", "CPU")
@torch.library.impl(LIBRARY, "norm_act", "CUDA")
def _norm_act(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _launch(*Call.of(arguments))


@fake("norm_act")
def _fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    call = Call.of(arguments)
    return _outputs(call.x, call.settings.pool, call.return_stats)


@torch.library.impl(LIBRARY, "norm_act", "Autograd")
def _autograd(*arguments: Any) -> tuple[Tensor, Tensor]:
    call = Call.of(arguments)
    inputs = (call.x, *call.tensors.values())
    if needs_gradient(*inputs):
        _chosen(call.x, _TRACED)
        return composed(call)
    with torch._C._AutoDispatchBelowAutograd():
        result: tuple[Tensor, Tensor] = torch.ops.genfuse.norm_act(*arguments)
    return result


def _check(x: Tensor, s: Settings, tensors: Mapping[str, Tensor | None]) -> None:
    if min(x.shape[1:]) < 1:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected channels and pixels")
    if x.shape[2] < s.pool[0] or x.shape[3] < s.pool[1]:
        raise ValueError(f"x has {x.shape[2]} x {x.shape[3]} pixels, expected 2 or more where pool is 2")
    batch, channels = x.shape[:2]
    both = ((channels,), (batch, channels))
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {
        "norm_weight": both,
        "norm_bias": both,
        "running_mean": ((channels,),),
        "running_var": ((channels,),),
        "stats": ((batch, channels, 2),),
        "film_scale": ((batch, channels),),
        "film_shift": ((batch, channels),),
    }
    for name, allowed in shapes.items():
        check_parameter(name, tensors.get(name), allowed, x)
    check.like("residual", tensors.get("residual"), x)
    check_norm(s, channels, tensors)
    check_seeds(s, x, tensors)
