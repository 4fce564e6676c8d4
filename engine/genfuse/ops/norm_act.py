"""`norm_act`: norm, activation and residual in one pass, where no convolution follows."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.conv_norm_act import Settings, check_norm, check_parameter, check_settings, empty_stats
from genfuse.ops.library import LIBRARY, define, fake, needs_dispatcher
from genfuse.ops.memory import empty
from genfuse_kernels.conv_norm_act.aten_norm import normalised
from genfuse_kernels.conv_norm_act.reference import channel_stats
from genfuse_kernels.conv_norm_act.settings import Activation, Norm
from genfuse_kernels.norm_act import reference

_TENSORS = (
    "norm_weight",
    "norm_bias",
    "running_mean",
    "running_var",
    "stats",
    "film_scale",
    "film_shift",
    "residual",
)


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
    residual: Tensor | None = None,
    scale: float = 1.0,
    out_activation: Activation = "none",
    pool: int = 1,
    return_stats: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """pool(out_activation((activation(norm(x)) + residual)·scale)).

    x, residual   (N, C, H, W) alike, float32, bfloat16 or float16, or any dtype on `aten`
    Everything else as in `conv_norm_act`. Returns a tensor like x, (N, C, H//2, W//2) with pool=2; with return_stats
    also the mean and biased variance over space of it, (N, C, 2) float32. Differentiable by PyTorch's own kernels.
    ValueError or TypeError, naming the argument, before anything is computed.
    """
    settings = Settings(
        norm=norm,
        num_groups=num_groups,
        eps=eps,
        activation=activation,
        negative_slope=negative_slope,
        scale=scale,
        out_activation=out_activation,
        pool=pool,
    )
    check_settings(settings)
    tensors = (
        norm_weight, norm_bias, running_mean, running_var, stats, film_scale, film_shift, residual
    )  # fmt: skip
    y, out_stats = unit(x, settings, tensors, return_stats)
    return (y, out_stats) if return_stats else y


def unit(
    x: Tensor, settings: Settings, tensors: tuple[Tensor | None, ...], return_stats: bool = False
) -> tuple[Tensor, Tensor]:
    """`norm_act` for callers that keep their settings, checked once: tensors are norm_weight ... residual, in order."""
    _check(x, settings, dict(zip(_TENSORS, tensors, strict=True)))
    if needs_dispatcher(x, *tensors):
        s = settings
        result: tuple[Tensor, Tensor] = torch.ops.genfuse.norm_act(
            x, *tensors, s.norm, s.num_groups, s.eps, s.activation, s.negative_slope, s.scale, s.out_activation,
            s.pool, return_stats,
        )  # fmt: skip
        return result
    return _launch(x, settings, tensors, return_stats)


def _launch(
    x: Tensor, settings: Settings, tensors: tuple[Tensor | None, ...], return_stats: bool
) -> tuple[Tensor, Tensor]:
    out, stats_out = _outputs(x, settings.pool, return_stats)
    launch = dispatch.select("norm_act", x.device, x.dtype)
    launch(out, stats_out if return_stats else None, x, settings, **dict(zip(_TENSORS, tensors, strict=True)))
    return out, stats_out


def _outputs(x: Tensor, pool: int, return_stats: bool) -> tuple[Tensor, Tensor]:
    last = x.stride(1) == 1 and x.shape[1] > 1
    batch, channels, height, width = x.shape
    out = empty(x, (batch, channels, height // pool, width // pool), x.dtype, channels_last=last)
    return out, empty_stats(x, x.shape[1], return_stats)


# --- registration ---

define(
    "norm_act(Tensor x, "
    + ", ".join(f"Tensor? {name}" for name in _TENSORS)
    + ", str norm, int num_groups, float eps, str activation, float negative_slope, float scale, str out_activation, "
    "int pool, bool return_stats) -> (Tensor, Tensor)"
)


class _Call(NamedTuple):
    """The op's arguments, sorted."""

    x: Tensor
    settings: Settings
    tensors: tuple[Tensor | None, ...]
    return_stats: bool

    @classmethod
    def of(cls, arguments: tuple[Any, ...]) -> _Call:
        x, *rest, return_stats = arguments
        norm, num_groups, eps, activation, slope, scale, out_activation, pool = rest[len(_TENSORS) :]
        settings = Settings(
            norm=norm,
            num_groups=num_groups,
            eps=eps,
            activation=activation,
            negative_slope=slope,
            scale=scale,
            out_activation=out_activation,
            pool=pool,
        )
        return cls(x, settings, tuple(rest[: len(_TENSORS)]), return_stats)


@torch.library.impl(LIBRARY, "norm_act", "CPU")
@torch.library.impl(LIBRARY, "norm_act", "CUDA")
def _norm_act(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _launch(*_Call.of(arguments))


@fake("norm_act")
def _fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    call = _Call.of(arguments)
    return _outputs(call.x, call.settings.pool, call.return_stats)


@torch.library.impl(LIBRARY, "norm_act", "Autograd")
def _autograd(*arguments: Any) -> tuple[Tensor, Tensor]:
    call = _Call.of(arguments)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (call.x, *call.tensors)):
        dispatch.select("norm_act", call.x.device, call.x.dtype, gradients=True)
        named = dict(zip(_TENSORS, call.tensors, strict=True))
        y = reference.norm_act(call.x, call.settings, **named, normalise=normalised)
        dtype = torch.float64 if y.dtype == torch.float64 else torch.float32
        stats = channel_stats(y.to(dtype)) if call.return_stats else y.new_empty(0, dtype=dtype)
        return y.to(call.x.dtype), stats
    with torch._C._AutoDispatchBelowAutograd():
        result: tuple[Tensor, Tensor] = torch.ops.genfuse.norm_act(*arguments)
    return result


def _check(x: Tensor, s: Settings, tensors: dict[str, Tensor | None]) -> None:
    check.sample("x", x)
    if x.ndim != 4 or min(x.shape[1:]) < 1:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (N, C, H, W) with channels and pixels")
    if min(x.shape[2:]) < s.pool:
        raise ValueError(f"x has {x.shape[2]} x {x.shape[3]} pixels, expected 2 x 2 or more for pool=2")
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
        check_parameter(name, tensors[name], allowed, x)
    check.like("residual", tensors["residual"], x)
    check_norm(s, channels, tensors)
