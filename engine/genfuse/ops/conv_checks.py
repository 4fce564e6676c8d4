"""What `conv_norm_act` and the ops beside it demand of settings and tensors, before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_compiling

from genfuse.names import check_name
from genfuse.ops import check
from genfuse.ops.conv_call import TENSORS
from genfuse.ops.conv_geometry import convolved_size
from genfuse.ops.passed import Passed, forms
from genfuse_kernels.conv_norm_act.settings import (
    ACCURACIES,
    ACTIVATIONS,
    NORMS,
    PADDING_MODES,
    Pair,
    Settings,
    kernel_size,
)

_LARGEST = 2**30
"""Strides, dilations, paddings and groups, so that places of pixels fit 64 bits whatever is added."""


def check_settings(settings: Settings) -> None:
    """ValueError or TypeError for a name or number that no unit has."""
    try:
        _check_values(*settings)
    except TypeError:  # perhaps of what has no hash
        _check_values.__wrapped__(*settings)


@lru_cache(maxsize=1024, typed=True)  # of those that pass; True is not taken for 1
def _check_values(*values: Any) -> None:
    s = Settings(*values)
    check_name("norm", s.norm, NORMS)
    check_name("activation", s.activation, ACTIVATIONS)
    check_name("out_activation", s.out_activation, ACTIVATIONS)
    check_name("padding_mode", s.padding_mode, PADDING_MODES)
    if s.accuracy is not None:
        check_name("accuracy", s.accuracy, ACCURACIES)
    for name in ("scale", "negative_slope", "eps", "dropout"):
        check.finite(name, getattr(s, name))
    check.flag("transposed", s.transposed)
    for name in ("groups", "num_groups"):
        check.count(name, getattr(s, name))
        if getattr(s, name) > _LARGEST:
            raise ValueError(f"{name} is {getattr(s, name)}, expected at most {_LARGEST}")
    for name in ("stride", "dilation", "padding", "extra_padding", "output_padding"):
        if max(map(abs, getattr(s, name))) > _LARGEST:
            raise ValueError(f"{name} is {getattr(s, name)}, expected at most {_LARGEST}")
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
    if not {*s.upsample} <= {1, 2}:
        raise ValueError(f"upsample is {s.upsample}, expected 1 or 2")
    if not {*s.pool} <= {1, 2} or (s.transposed and s.pool != (1, 1)):
        raise ValueError(f"pool is {s.pool}, expected 1, or 2 without transposed")
    if s.transposed and (s.upsample != (1, 1) or s.padding_mode != "zeros"):
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
    if s.eps < 0:
        raise ValueError(f"eps is {s.eps}, expected 0 or more")
    if not 0 <= s.dropout < 1:
        raise ValueError(f"dropout is {s.dropout}, expected at least 0 and less than 1")
    check.word("dropout_stream", s.dropout_stream)


def _end_padding(s: Settings) -> Pair:
    """At the bottom and the right."""
    return s.padding[0] + s.extra_padding[0], s.padding[1] + s.extra_padding[1]


def check_axes(x: Tensor, **weights: Any) -> None:
    """A picture, or a sequence, and weights that have as many axes."""
    check.sample("x", x)
    if x.ndim not in (3, 4):
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (N, C, H, W) or (N, C, L)")
    for name, weight in weights.items():
        if weight is None and name != "weight":
            continue
        check.dense(name, weight, "(K, C/groups, height, width)")
        if weight.ndim != x.ndim:
            form = "(K, C/groups, height, width)" if x.ndim == 4 else "(K, C/groups, length)"
            raise ValueError(f"{name} has shape {tuple(weight.shape)}, expected {form}")


def check_unit(
    x: Tensor, weight: Tensor, bias: Tensor | None, s: Settings, tensors: Mapping[str, Tensor | None]
) -> None:
    """Whether a unit's tensors fit each other and its settings; those of a sequence as pictures of height 1."""
    of_tensors = forms((x, weight, bias, *map(tensors.get, TENSORS)))
    key = None if of_tensors is None else (s, of_tensors)
    if _passed.get(key) is None:
        _check_unit(x, weight, bias, s, tensors)
        _passed.add(key, True)


_passed: Passed[bool] = Passed()


def _check_unit(
    x: Tensor, weight: Tensor, bias: Tensor | None, s: Settings, tensors: Mapping[str, Tensor | None]
) -> None:
    skip = tensors.get("skip")
    if skip is not None:
        check.dense("skip", skip, "(N, C, H, W)")
        expected = (x.shape[0], skip.shape[1] if skip.ndim == 4 else -1, *x.shape[2:])
        check.like("skip", skip, x, expected)
    channels = x.shape[1] + (0 if skip is None else skip.shape[1])
    outputs = _check_weight(weight, channels, s, x)
    kernel = kernel_size(weight.shape)
    size = convolved_size(s, kernel, (x.shape[2], x.shape[3]))
    if s.transposed and min(x.shape[2:]) > 0 and min(size) < 1:
        raise ValueError(
            f"padding is {s.padding}, too large for {x.shape[2]} x {x.shape[3]} pixels, transposed: the output would "
            f"have {size[0]} x {size[1]}"
        )
    if min(x.shape[2:]) < 1 or size[0] < s.pool[0] or size[1] < s.pool[1]:
        raise ValueError(
            f"x has {x.shape[2]} x {x.shape[3]} pixels, too few for a kernel of {kernel[0]} x {kernel[1]}: the "
            f"output would have {size[0]} x {size[1]}{' before it is pooled' if s.pool != (1, 1) else ''}"
        )
    batch = x.shape[0]
    # Of a traced call's sizes the question would be a guard, which no exported batch of any size may have.
    if not is_compiling() and math.prod((batch, outputs, *size)) * x.element_size() >= 2**63:
        raise ValueError(
            f"the output would have shape {(batch, outputs, *size)}, more than memory has addresses: stride is "
            f"{s.stride}, dilation {s.dilation}, padding {s.padding}"
        )
    a_channel, a_sample = (channels,), (batch, channels)
    check_parameter("bias", bias, ((outputs,),), x)
    for name in ("norm_weight", "norm_bias"):
        check_parameter(name, tensors.get(name), (a_channel, a_sample), x)
    for name in ("running_mean", "running_var"):
        check_parameter(name, tensors.get(name), (a_channel,), x)
    check_parameter("stats", tensors.get("stats"), ((batch, channels, 2),), x)
    for name in ("film_scale", "film_shift"):
        check_parameter(name, tensors.get(name), (a_sample,), x)
    check_parameter("shift", tensors.get("shift"), ((batch, outputs),), x)
    _check_residual(x, (batch, outputs, *size), tensors)
    _check_padding(s, x)
    check_norm(s, channels, tensors)
    check_seeds(s, x, tensors)


def _check_residual(x: Tensor, output: tuple[int, ...], tensors: Mapping[str, Tensor | None]) -> None:
    residual, skip, weight = (tensors.get(f"residual{name}") for name in ("", "_skip", "_weight"))
    if weight is None:
        check.like("residual", residual, x, output)
        if skip is not None:
            raise ValueError("residual_skip is given without residual_weight, expected both or neither")
        return
    if residual is None:
        raise ValueError("residual_weight is given without residual, expected what it projects")
    channels = 0
    for name, image in (("residual", residual), ("residual_skip", skip)):
        if image is not None:
            check.dense(name, image, "(N, C, H, W)")
            own = image.shape[1] if image.ndim == 4 and image.shape[1] > 0 else -1
            check.like(name, image, x, (output[0], own, *output[2:]))
            channels += own
    forms = ((output[1], channels, 1, 1), (output[1], channels, 1))
    check_parameter("residual_weight", weight, forms[4 - weight.ndim :], x)


def _check_weight(weight: Tensor, channels: int, s: Settings, x: Tensor) -> int:
    """The number of output channels."""
    if min(weight.shape) < 1:
        raise ValueError(f"weight has shape {tuple(weight.shape)}, expected no size of 0")
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
    """One of the allowed shapes, x's dtype or float32, on x's device; absent is fine."""
    if tensor is None:
        return
    check.dense(name, tensor, allowed[0])
    if tuple(tensor.shape) not in allowed:
        expected = " or ".join(str(shape) for shape in allowed)
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {expected}")
    if tensor.dtype not in (x.dtype, torch.float32):
        raise TypeError(f"{name} has dtype {tensor.dtype}, expected {x.dtype} as x, or float32")
    check.same_device(name, tensor, x)


def check_seeds(s: Settings, x: Tensor, tensors: Mapping[str, Tensor | None]) -> None:
    """Whether a sample has the seed that its dropout draws from; seeds without dropout are fine."""
    seeds = tensors.get("seeds")
    if s.dropout > 0 and seeds is None:
        raise ValueError(f"dropout is {s.dropout}, expected seeds beside it: an int64 tensor ({x.shape[0]},)")
    check.seeds(seeds, x.shape[0], x)


def _check_padding(s: Settings, x: Tensor) -> None:
    if s.padding_mode == "zeros":
        return
    for axis in (0, 1):
        reads = x.shape[2 + axis] * s.upsample[axis]
        padding = max(s.padding[axis], _end_padding(s)[axis])
        if padding > reads - (s.padding_mode == "reflect"):
            raise ValueError(
                f"padding is {padding}, expected {'less than' if s.padding_mode == 'reflect' else 'at most'} the "
                f"{reads} pixels of the input, for padding_mode={s.padding_mode!r}"
            )


def check_norm(s: Settings, channels: int, tensors: Mapping[str, Tensor | None]) -> None:
    """Whether the norm has what it reads; `tensors` by name, None where absent."""
    given = {name for name in ("running_mean", "running_var") if tensors.get(name) is not None}
    if given and (s.norm != "batch" or len(given) == 1):
        raise ValueError(
            f"{' and '.join(sorted(given))} given with norm={s.norm!r}, expected both or neither, and norm='batch'"
        )
    if s.norm == "group" and channels % s.num_groups:
        raise ValueError(f"num_groups is {s.num_groups}, expected a divisor of the {channels} channels")
    if (tensors.get("film_scale") is None) != (tensors.get("film_shift") is None):
        raise ValueError("one of film_scale and film_shift is given, expected both or neither")
    if tensors.get("stats") is not None and s.norm in ("none", "layer_pixel", "rms_pixel"):
        raise ValueError(
            f"stats is given with norm={s.norm!r}, expected a norm that reads statistics over space"
        )
