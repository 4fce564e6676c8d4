"""Which backend would run a call of an op, and why."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import torch

from genfuse import dispatch, measured, tuned
from genfuse.dispatch import Choice
from genfuse.ops import tensor_list
from genfuse.ops.attention import attention
from genfuse.ops.attention import limits as heads_limits
from genfuse.ops.autocast import in_autocast, is_autocast
from genfuse.ops.conv_geometry import convolved_size, settings_of
from genfuse.ops.conv_launch import limits, underfilled
from genfuse.ops.conv_norm_act import Settings, conv_norm_act
from genfuse.ops.library import gradient_limits, needs_gradient
from genfuse.ops.spectral_norm import limits as matrices_limits
from genfuse.ops.spectral_norm import spectral_norm
from genfuse.ops.upfirdn2d import limits as resampling_limits
from genfuse.ops.upfirdn2d import upfirdn2d
from genfuse_kernels.conv_norm_act import cuda_plan
from genfuse_kernels.conv_norm_act.settings import kernel_size

_OF_LISTS = frozenset({"clip_grad_norm", "clip_weights", "ema_update"})

_DIFFERENTIATED = frozenset(
    {"attention", "bias_act", "conv_norm_act", "linear", "norm_act", "philox_lerp", "upfirdn2d"}
)
"""Ops that choose their backend anew where gradients are needed."""


def explain(op: str, *args: Any, **kwargs: Any) -> Choice:
    """Which backend would run `genfuse.ops.<op>(*args, **kwargs)`, and why not each other one.

    The device and dtype are those of the first floating tensor among the arguments and the lists among them (float32 on
    the CPU where there is none). The reason names the kernel of a convolution on the CPU; where a measurement decides
    (`backend(reproducible=False)`), the call is made, and it names the time as well. Printing the result gives the
    reasons, a line each.
    """
    lists = [value for value in (*args, *kwargs.values()) if isinstance(value, list | tuple)]
    tensors = [
        value for value in (*args, *kwargs.values(), *chain(*lists)) if isinstance(value, torch.Tensor)
    ]
    gradients = needs_gradient(*tensors)
    floating = [tensor for tensor in tensors if tensor.is_floating_point()]
    if not floating:
        return dispatch.choose(op, torch.device("cpu"), kwargs.get("dtype", torch.float32))
    of_call: dict[dispatch.Backend, str] = {}
    if op == "conv_norm_act":
        of_call = _limits(args, kwargs, gradients)
    elif op == "attention":
        of_call = _of_heads(args, kwargs, gradients)
    elif op in _OF_LISTS:
        of_call = dict(tensor_list.limits(*lists))
    elif op == "spectral_norm":
        of_call = _of_matrices(args, kwargs)
    if gradients and op in _DIFFERENTIATED:
        of_call |= gradient_limits(*tensors)
    if gradients and op == "upfirdn2d":
        given = inspect.signature(upfirdn2d).bind_partial(*args, **kwargs).arguments
        of_call |= resampling_limits(floating[0], given.get("f"))
    choice = dispatch.choose(op, floating[0].device, floating[0].dtype, gradients, of_call)
    if dispatch.is_measured(op, choice.backend):
        return _measured(choice, args, kwargs)
    of_backend = {"cpu": _kernel, "cuda": _blocks}.get(choice.backend or "")
    kernel = of_backend(args, kwargs) if op == "conv_norm_act" and of_backend is not None else None
    return choice if kernel is None else replace(choice, reason=f"{choice.reason}; {kernel}")


def _limits(args: tuple[Any, ...], kwargs: dict[str, Any], gradients: bool) -> dict[dispatch.Backend, str]:
    """Of this call of `conv_norm_act`, as far as its arguments are given."""
    given = inspect.signature(conv_norm_act).bind_partial(*args, **kwargs).arguments
    x, weight = given.get("x"), given.get("weight")
    if not isinstance(x, torch.Tensor) or not isinstance(weight, torch.Tensor):
        return {}
    options = {name: given[name] for name in Settings._fields if name in given}
    settings = settings_of(weight.ndim - 2, **{"padding": 0, **options})
    return limits(x, weight, settings, gradients) | ({} if gradients else underfilled(x, weight, settings))


def _of_heads(args: tuple[Any, ...], kwargs: dict[str, Any], gradients: bool) -> dict[dispatch.Backend, str]:
    """Of this call of `attention`, as far as its arguments are given."""
    given = inspect.signature(attention).bind_partial(*args, **kwargs).arguments
    q = given.get("q")
    return {} if q is None else heads_limits(q, given.get("v", q), gradients)


def _of_matrices(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[dispatch.Backend, str]:
    """Of this call of `spectral_norm`."""
    given = inspect.signature(spectral_norm).bind_partial(*args, **kwargs).arguments
    weights = tensor_list.listed("weights", given.get("weights", ()))
    dims = given.get("dims") or [0] * len(weights)
    axes = [dim % weight.ndim for weight, dim in zip(weights, dims, strict=True)]
    return matrices_limits(weights, axes) if weights else {}


def _kernel(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """The C++ kernel that a call of `conv_norm_act` runs on by rule; None where its weights are not given."""
    from genfuse_kernels import _cpu  # needs the extension
    from genfuse_kernels.conv_norm_act.cpu_impl import convolution

    unit = _unit(args, kwargs)
    if unit is None:
        return None
    conv = convolution(unit.weight, unit.settings, unit.dtype, unit.size, _cpu.isa(), unit.projects)
    return f"kernel {conv.algorithm}, of {conv.product} factors on {_cpu.isa()}"


def _blocks(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """How the CUDA kernel's blocks share such a call; None where its weights are not given."""
    unit = _unit(args, kwargs)
    if unit is None:
        return None
    made = convolved_size(unit.settings, kernel_size(unit.weight), unit.size)
    return cuda_plan.described(unit.weight, unit.settings, made, unit.batch, unit.dtype, unit.projects)


class _Unit(NamedTuple):
    weight: tuple[int, ...]
    settings: Settings
    dtype: torch.dtype
    batch: int
    size: tuple[int, int]
    projects: bool


def _unit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Unit | None:
    """What a call of `conv_norm_act` computes; None where its weights are not given."""
    bound = inspect.signature(conv_norm_act).bind_partial(*args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    if not isinstance(given.get("weight"), torch.Tensor):
        return None
    x = given["x"]
    settings = settings_of(x.ndim - 2, **{name: given[name] for name in Settings._fields if name in given})
    size = (1, x.shape[2]) if x.ndim == 3 else (x.shape[2], x.shape[3])
    dtype = in_autocast(x).dtype if is_autocast(x) else x.dtype
    projects = given["residual_weight"] is not None
    return _Unit(tuple(given["weight"].shape), settings, dtype, x.shape[0], size, projects)


def _measured(choice: Choice, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Choice:
    found: list[measured.Measured] = []
    with measured.telling(found.append):
        getattr(importlib.import_module("genfuse.ops"), choice.op)(*args, **kwargs)
    if not found:
        return replace(choice, reason=f"{choice.reason}; {tuned.BY_RULE}")
    fastest = found[-1]
    reason = (
        f"{fastest}: fastest here, measured at {fastest.seconds * 1e6:.0f} µs; "
        f"by rule {fastest.by_rule * 1e6:.0f} µs"
    )
    passed_over = dict(choice.passed_over)
    if choice.backend is not None and fastest.backend != choice.backend:
        passed_over.pop(fastest.backend, None)
        passed_over = {choice.backend: "slower when it was measured", **passed_over}
    return replace(choice, backend=fastest.backend, reason=reason, passed_over=passed_over)
