"""`conv_norm_act`: a convolution with the norm and activation before it and the epilogue behind it, as one kernel."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.names import check_name
from genfuse.ops import check
from genfuse.ops.library import LIBRARY, define, fake, needs_dispatcher
from genfuse.ops.memory import empty
from genfuse_kernels.conv_norm_act import reference
from genfuse_kernels.conv_norm_act.aten_norm import normalised
from genfuse_kernels.conv_norm_act.settings import (
    ACCURACIES,
    ACTIVATIONS,
    NORMS,
    PADDING_MODES,
    Accuracy,
    Activation,
    Norm,
    PaddingMode,
    Pair,
)
from genfuse_kernels.conv_norm_act.settings import (
    Settings as Settings,
)

_TENSORS = (
    "skip",
    "norm_weight",
    "norm_bias",
    "running_mean",
    "running_var",
    "stats",
    "film_scale",
    "film_shift",
    "shift",
    "residual",
)


def conv_norm_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | tuple[int, int, int, int] = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    transposed: bool = False,
    output_padding: int | Pair = 0,
    padding_mode: PaddingMode = "zeros",
    upsample: int = 1,
    skip: Tensor | None = None,
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
    shift: Tensor | None = None,
    residual: Tensor | None = None,
    scale: float = 1.0,
    out_activation: Activation = "none",
    pool: int = 1,
    accuracy: Accuracy | None = None,
    return_stats: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """pool(out_activation((conv(activation(norm([x, skip]))) + bias + shift + residual)·scale)).

    x         (N, C, H, W) float32, bfloat16 or float16 (arithmetic in float32), or any dtype on `aten`; planar and
              channels-last memory without a copy
    weight    (K, C/groups, kernel height, width); transposed: (C, K/groups, ...)
    bias      (K,)
    stride, padding, dilation, groups, output_padding   as `torch.nn.functional.conv2d` and `conv_transpose2d`; padding
              may be (left, right, top, bottom) too, as `torch.nn.functional.pad` has it, unless transposed
    padding_mode  "zeros", "reflect" or "circular", of the normalised and activated input
    upsample  2 repeats each pixel of the input twice along both axes
    skip      (N, C', H, W): channels behind x's, without a concatenation in memory
    norm      "none", "batch" (of running_mean and running_var (C,) where given, else of the batch), "instance",
              "group" (of num_groups), "layer" (over C, H, W), "layer_pixel" and "rms_pixel" (over C, of each pixel)
    norm_weight, norm_bias   (C,), or (N, C) for adaptive norms; without norm they apply to x itself
    film_scale, film_shift   (N, C): behind the norm, times 1 + film_scale plus film_shift
    stats     (N, C, 2) float32 as `return_stats` gave them for x: saves the pass that the norm would need
    shift     (N, K), as of a time embedding
    residual  like the output before it is pooled
    pool      2 averages each 2x2 pixels of the result; a last odd row or column is dropped; not with transposed
    accuracy  "exact" forbids Winograd, whose bound is `spec.tolerance`'s, "fast" admits it; None is "fast" for float32
              and "exact" for bfloat16 and float16
    return_stats  also return mean and biased variance over space of the output, (N, K, 2) float32

    Returns the output (N, K, H', W'), channels-last where x is. Differentiable: a call that needs gradients runs on
    PyTorch's own kernels (`aten`). What is computed stands in `genfuse_kernels/conv_norm_act/spec.py`. ValueError or
    TypeError, naming the argument, before anything is computed; UnsupportedError where no permitted backend can run.
    """
    before, extra = _paddings(padding)
    settings = Settings(
        stride=_pair("stride", stride),
        padding=before,
        extra_padding=extra,
        dilation=_pair("dilation", dilation),
        groups=groups,
        transposed=transposed,
        output_padding=_pair("output_padding", output_padding),
        padding_mode=padding_mode,
        upsample=upsample,
        norm=norm,
        num_groups=num_groups,
        eps=eps,
        activation=activation,
        negative_slope=negative_slope,
        scale=scale,
        out_activation=out_activation,
        pool=pool,
        accuracy=accuracy,
    )
    tensors = (
        skip, norm_weight, norm_bias, running_mean, running_var, stats, film_scale, film_shift, shift, residual
    )  # fmt: skip
    check_settings(settings)
    y, out_stats = unit(x, weight, bias, settings, tensors, return_stats)
    return (y, out_stats) if return_stats else y


def unit(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: Settings,
    tensors: tuple[Tensor | None, ...],
    return_stats: bool = False,
) -> tuple[Tensor, Tensor]:
    """`conv_norm_act` for callers that keep their settings, checked once: tensors are skip ... residual, in order."""
    _check(x, weight, bias, settings, dict(zip(_TENSORS, tensors, strict=True)))
    if needs_dispatcher(x, weight, bias, *tensors):
        result: tuple[Tensor, Tensor] = torch.ops.genfuse.conv_norm_act(
            x, weight, bias, *tensors, *settings, return_stats
        )
        return result
    return _launch(x, weight, bias, settings, tensors, return_stats)


def output_size(settings: Settings, kernel: Pair, size: Pair) -> Pair:
    """Height and width of the output for an input of this height and width; may be less than 1."""
    height, width = convolved_size(settings, kernel, size)
    return height // settings.pool, width // settings.pool


def convolved_size(settings: Settings, kernel: Pair, size: Pair) -> Pair:
    """`output_size` before pooling."""
    sizes = []
    for axis in (0, 1):
        reach = settings.dilation[axis] * (kernel[axis] - 1) + 1
        if settings.transposed:
            out = (
                (size[axis] - 1) * settings.stride[axis]
                - 2 * settings.padding[axis]
                + reach
                + settings.output_padding[axis]
            )
        else:
            padding = 2 * settings.padding[axis] + settings.extra_padding[axis]
            room = size[axis] * settings.upsample + padding - reach
            out = room // settings.stride[axis] + 1
        sizes.append(out)
    return sizes[0], sizes[1]


def _launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: Settings,
    tensors: tuple[Tensor | None, ...],
    return_stats: bool,
) -> tuple[Tensor, Tensor]:
    out, stats_out = _outputs(x, weight, settings, return_stats)
    launch = dispatch.select("conv_norm_act", x.device, x.dtype)
    named = dict(zip(_TENSORS, tensors, strict=True))
    launch(out, stats_out if return_stats else None, x, weight, bias, settings, **named)
    return out, stats_out


def _outputs(x: Tensor, weight: Tensor, settings: Settings, return_stats: bool) -> tuple[Tensor, Tensor]:
    channels = weight.shape[1] * settings.groups if settings.transposed else weight.shape[0]
    height, width = output_size(settings, (weight.shape[2], weight.shape[3]), (x.shape[2], x.shape[3]))
    last = x.stride(1) == 1 and x.shape[1] > 1
    out = empty(x, (x.shape[0], channels, height, width), x.dtype, channels_last=last)
    return out, empty_stats(x, channels, return_stats)


def empty_stats(x: Tensor, channels: int, wanted: bool) -> Tensor:
    """Room for the statistics of a result of this many channels, or nothing."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return empty(x, (x.shape[0], channels, 2) if wanted else (0,), dtype)


def _composed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: Settings,
    tensors: tuple[Tensor | None, ...],
    return_stats: bool,
) -> tuple[Tensor, Tensor]:
    """By PyTorch's own differentiable ops."""
    named = dict(zip(_TENSORS, tensors, strict=True))
    y = reference.conv_norm_act(x, weight, bias, settings, **named, normalise=normalised)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    stats = reference.channel_stats(y.to(dtype)) if return_stats else x.new_empty(0, dtype=dtype)
    return y.to(x.dtype), stats


# --- registration ---

define(
    "conv_norm_act(Tensor x, Tensor weight, Tensor? bias, "
    + ", ".join(f"Tensor? {name}" for name in _TENSORS)
    + ", int[2] stride, int[2] padding, int[2] extra_padding, int[2] dilation, int groups, bool transposed, "
    "int[2] output_padding, str padding_mode, int upsample, str norm, int num_groups, float eps, str activation, "
    "float negative_slope, float scale, str out_activation, int pool, str? accuracy, bool return_stats) "
    "-> (Tensor, Tensor)"
)


class _Call(NamedTuple):
    """The op's arguments, sorted."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    settings: Settings
    tensors: tuple[Tensor | None, ...]
    return_stats: bool

    @classmethod
    def of(cls, arguments: tuple[Any, ...]) -> _Call:
        x, weight, bias, *rest, return_stats = arguments
        tensors, values = tuple(rest[: len(_TENSORS)]), rest[len(_TENSORS) :]
        settings = Settings._make(tuple(v) if isinstance(v, list) else v for v in values)
        return cls(x, weight, bias, settings, tensors, return_stats)


@torch.library.impl(LIBRARY, "conv_norm_act", "CPU")
@torch.library.impl(LIBRARY, "conv_norm_act", "CUDA")
def _conv_norm_act(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _launch(*_Call.of(arguments))


@fake("conv_norm_act")
def _fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    call = _Call.of(arguments)
    return _outputs(call.x, call.weight, call.settings, call.return_stats)


@torch.library.impl(LIBRARY, "conv_norm_act", "Autograd")
def _autograd(*arguments: Any) -> tuple[Tensor, Tensor]:
    call = _Call.of(arguments)
    inputs = (call.x, call.weight, call.bias, *call.tensors)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
        dispatch.select("conv_norm_act", call.x.device, call.x.dtype, gradients=True)
        return _composed(*call)
    with torch._C._AutoDispatchBelowAutograd():
        result: tuple[Tensor, Tensor] = torch.ops.genfuse.conv_norm_act(*arguments)
    return result


# --- checks ---


def _pair(name: str, value: Any) -> Pair:
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(v, int) for v in value):
        return value[0], value[1]
    raise TypeError(f"{name} is {value!r}, expected an int or (height, width)")


def _paddings(padding: int | tuple[int, ...]) -> tuple[Pair, Pair]:
    """`Settings.padding` and `Settings.extra_padding`."""
    if not isinstance(padding, (tuple, list)) or len(padding) != 4:
        return _pair("padding", padding), (0, 0)
    left, right, top, bottom = padding
    if not all(isinstance(side, int) for side in padding):
        raise TypeError(f"padding is {padding!r}, expected four ints: left, right, top, bottom")
    return (top, left), (bottom - top, right - left)


def check_settings(s: Settings) -> None:
    """ValueError for a name or number that no unit has."""
    check_name("norm", s.norm, NORMS)
    check_name("activation", s.activation, ACTIVATIONS)
    check_name("out_activation", s.out_activation, ACTIVATIONS)
    check_name("padding_mode", s.padding_mode, PADDING_MODES)
    if s.accuracy is not None:
        check_name("accuracy", s.accuracy, ACCURACIES)
    for name in ("stride", "dilation"):
        if min(getattr(s, name)) < 1:
            raise ValueError(f"{name} is {getattr(s, name)}, expected 1 or more")
    for name in ("padding", "output_padding"):
        if min(getattr(s, name)) < 0:
            raise ValueError(f"{name} is {getattr(s, name)}, expected 0 or more")
    for axis in (0, 1):
        if s.padding[axis] + s.extra_padding[axis] < 0 or (s.transposed and s.extra_padding[axis]):
            raise ValueError(
                f"padding is {s.padding} at top and left, {_end_padding(s)} at bottom and right, expected 0 or more"
                f"{', and the same on opposite sides where transposed' if s.transposed else ''}"
            )
    if s.upsample not in (1, 2):
        raise ValueError(f"upsample is {s.upsample}, expected 1 or 2")
    if s.pool not in (1, 2) or (s.pool == 2 and s.transposed):
        raise ValueError(f"pool is {s.pool}, expected 1, or 2 without transposed")
    if s.transposed and (s.upsample != 1 or s.padding_mode != "zeros"):
        raise ValueError(
            f"transposed is True, expected upsample=1 and padding_mode='zeros' beside it, got {s.upsample} and "
            f"{s.padding_mode!r}"
        )
    for axis in (0, 1):
        if s.output_padding[axis] and (
            not s.transposed or s.output_padding[axis] >= max(s.stride[axis], s.dilation[axis])
        ):
            raise ValueError(
                f"output_padding is {s.output_padding}, expected less than stride or dilation, and 0 unless transposed"
            )
    if not (math.isfinite(s.eps) and s.eps >= 0):
        raise ValueError(f"eps is {s.eps}, expected a finite number, 0 or more")
    if s.groups < 1 or s.num_groups < 1:
        raise ValueError(f"groups is {s.groups} and num_groups {s.num_groups}, expected 1 or more")


def _end_padding(s: Settings) -> Pair:
    """At the bottom and the right."""
    return s.padding[0] + s.extra_padding[0], s.padding[1] + s.extra_padding[1]


def _check(
    x: Tensor, weight: Tensor, bias: Tensor | None, s: Settings, tensors: dict[str, Tensor | None]
) -> None:
    check.sample("x", x)
    if x.ndim != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (N, C, H, W)")
    skip = tensors["skip"]
    if skip is not None:
        expected = (x.shape[0], skip.shape[1] if skip.ndim == 4 else -1, *x.shape[2:])
        check.like("skip", skip, x, expected)
    channels = x.shape[1] + (0 if skip is None else skip.shape[1])
    outputs = _check_weight(weight, channels, s, x)
    size = convolved_size(s, (weight.shape[2], weight.shape[3]), (x.shape[2], x.shape[3]))
    if min(x.shape[2:]) < 1 or min(size) < s.pool:
        raise ValueError(
            f"x has {x.shape[2]} x {x.shape[3]} pixels, too few for a kernel of "
            f"{weight.shape[2]} x {weight.shape[3]}: the output would have {size[0]} x {size[1]}"
            f"{' before it is pooled' if s.pool > 1 else ''}"
        )
    batch = x.shape[0]
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {
        "bias": ((outputs,),),
        "norm_weight": ((channels,), (batch, channels)),
        "norm_bias": ((channels,), (batch, channels)),
        "running_mean": ((channels,),),
        "running_var": ((channels,),),
        "stats": ((batch, channels, 2),),
        "film_scale": ((batch, channels),),
        "film_shift": ((batch, channels),),
        "shift": ((batch, outputs),),
    }
    for name, allowed in shapes.items():
        check_parameter(name, bias if name == "bias" else tensors[name], allowed, x)
    check.like("residual", tensors["residual"], x, (batch, outputs, *size))
    _check_padding(s, x)
    check_norm(s, channels, tensors)


def _check_weight(weight: Tensor, channels: int, s: Settings, x: Tensor) -> int:
    """The number of output channels."""
    if not isinstance(weight, Tensor):
        raise TypeError(f"weight is {type(weight).__name__}, expected a tensor (K, C/groups, height, width)")
    if weight.ndim != 4 or min(weight.shape) < 1:
        raise ValueError(f"weight has shape {tuple(weight.shape)}, expected (K, C/groups, height, width)")
    first, second = weight.shape[:2]
    inputs, outputs = (first, second * s.groups) if s.transposed else (second * s.groups, first)
    if inputs != channels or channels % s.groups or outputs % s.groups:
        form = "(C, K/groups, ...)" if s.transposed else "(K, C/groups, ...)"
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}, expected {form} for C={channels} channels of x and skip and "
            f"groups={s.groups}"
        )
    if weight.dtype not in (x.dtype, torch.float32):
        raise TypeError(f"weight has dtype {weight.dtype}, expected {x.dtype} as x, or float32")
    check.same_device("weight", weight, x)
    return outputs


def check_parameter(
    name: str, tensor: Tensor | None, allowed: tuple[tuple[int, ...], ...], x: Tensor
) -> None:
    """One of the allowed shapes, x\'s dtype or float32, on x\'s device; absent is fine."""
    if tensor is None:
        return
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is {type(tensor).__name__}, expected a tensor {allowed[0]}")
    if tuple(tensor.shape) not in allowed:
        expected = " or ".join(str(shape) for shape in allowed)
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {expected}")
    if tensor.dtype not in (x.dtype, torch.float32):
        raise TypeError(f"{name} has dtype {tensor.dtype}, expected {x.dtype} as x, or float32")
    check.same_device(name, tensor, x)


def _check_padding(s: Settings, x: Tensor) -> None:
    if s.padding_mode == "zeros":
        return
    for axis in (0, 1):
        reads = x.shape[2 + axis] * s.upsample
        padding = max(s.padding[axis], _end_padding(s)[axis])
        if padding > reads - (s.padding_mode == "reflect"):
            raise ValueError(
                f"padding is {padding}, expected {'less than' if s.padding_mode == 'reflect' else 'at most'} the "
                f"{reads} pixels of the input, for padding_mode={s.padding_mode!r}"
            )


def check_norm(s: Settings, channels: int, tensors: dict[str, Tensor | None]) -> None:
    """Whether the norm has what it reads; `tensors` by name, None where absent."""
    given = {name for name in ("running_mean", "running_var") if tensors[name] is not None}
    if given and (s.norm != "batch" or len(given) == 1):
        raise ValueError(
            f"{' and '.join(sorted(given))} given with norm={s.norm!r}, expected both or neither, and norm='batch'"
        )
    if s.norm == "group" and channels % s.num_groups:
        raise ValueError(f"num_groups is {s.num_groups}, expected a divisor of the {channels} channels")
    if (tensors["film_scale"] is None) != (tensors["film_shift"] is None):
        raise ValueError("one of film_scale and film_shift is given, expected both or neither")
    if tensors["stats"] is not None and s.norm in ("none", "layer_pixel", "rms_pixel"):
        raise ValueError(
            f"stats is given with norm={s.norm!r}, expected a norm that reads statistics over space"
        )
