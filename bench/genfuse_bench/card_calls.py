"""The calls that have a kernel card: (kernel, case, binary) of each, compiled for the active target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genfuse_bench.compiled import compile_call, compiling_only
from genfuse_bench.network_card_calls import network_calls
from genfuse_kernels.conv_norm_act.settings import Accuracy, Settings, UnitTensors


def all_calls(dtype: torch.dtype) -> Iterator[tuple[str, str, Any]]:
    """Those of every op that takes the dtype."""
    yield from sampler_calls(dtype)
    yield from network_calls(dtype)
    if dtype != torch.float64:
        yield from norm_calls(dtype)
        yield from conv_calls(dtype)
        yield from gradient_calls(dtype)
        yield from tangent_calls(dtype)


def sampler_calls(dtype: torch.dtype) -> Iterator[tuple[str, str, Any]]:
    """The ops of a sampler; the index is on the device."""
    from genfuse_kernels.philox_normal import triton_impl as philox_normal
    from genfuse_kernels.sampler_reduce import triton_impl as sampler_reduce
    from genfuse_kernels.sampler_step import triton_impl as sampler_step

    compute = torch.float64 if dtype == torch.float64 else torch.float32
    table, scales = torch.empty(8, 32, dtype=compute), torch.empty(4, 2, dtype=compute)
    index, seeds = torch.zeros(1, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)
    none = dict.fromkeys(("uncond", "variance", "history", "noise", "noise_prev", "seeds", "scales"))
    for memory_format in ("contiguous", "channels_last"):

        def new(*leading: int, memory_format: str = memory_format) -> Tensor:
            tensor = torch.empty(*leading, 4, 64, 64, dtype=dtype)
            return (
                tensor if memory_format == "contiguous" else tensor.view(*leading, 64, 64, 4).movedim(-1, -3)
            )

        x = new(4)

        def step(case: str, x: Tensor = x, **given: Any) -> tuple[str, str, Any]:
            inputs = none | {"stream": 0} | given
            call = (new(4), None, x, new(4), table, index)
            return "sampler_step", case, compile_call(sampler_step, "sampler_step", *call, **inputs)

        everything = {
            "uncond": new(4),
            "variance": new(4),
            "history": new(4, 4),
            "seeds": seeds,
            "scales": scales,
        }
        yield step(f"deterministic, {memory_format}")
        yield step(f"multistep, {memory_format}", history=new(2, 4))
        yield step(f"stochastic, {memory_format}", seeds=seeds)
        yield step(f"everything, {memory_format}", **everything)
        binary = compile_call(philox_normal, "philox_normal", new(4), seeds, index, 0)
        yield "philox_normal", memory_format, binary
        reduced = (scales, x, new(4), table, index)
        binary = compile_call(sampler_reduce, "sampler_reduce", *reduced, uncond=new(4))
        yield "sampler_reduce", memory_format, binary


def norm_calls(dtype: torch.dtype) -> Iterator[tuple[str, str, Any]]:
    """Norms of 128 channels at 64 x 64, each kernel once a case."""

    from genfuse_kernels.norm_act.triton_impl import norm_act

    parameters = {"norm_weight": torch.empty(128), "norm_bias": torch.empty(128)}
    seeds = torch.zeros(4, dtype=torch.int64)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x, y = (torch.empty(4, 128, 64, 64, dtype=dtype, memory_format=memory_format) for _ in "xy")
        layout = "channels_last" if memory_format == torch.channels_last else "contiguous"
        silu = Settings(norm="group", num_groups=32, activation="silu")
        calls: dict[str, tuple[Settings, dict[str, Any]]] = {
            "group, silu": (silu, {}),
            "group, silu, dropout, residual, statistics": (
                silu._replace(dropout=0.1),
                {"residual": y, "seeds": seeds, "stats_out": torch.empty(4, 128, 2)},
            ),
            "layer_pixel, gelu": (Settings(norm="layer_pixel", activation="gelu"), {}),
            "batch, relu, pool": (Settings(norm="batch", activation="relu", pool=(2, 2)), {}),
        }
        for case, (settings, given) in list(calls.items())[: 2 if layout == "contiguous" else None]:
            out = y[:, :, :: settings.pool[0], :: settings.pool[1]].clone(memory_format=memory_format)
            with compiling_only() as found:
                norm_act(out, given.pop("stats_out", None), x, settings, **parameters, **given)
            for kernel, binary in dict(found).items():
                yield kernel.removesuffix("_kernel"), f"{case}, {layout}", binary


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "group, silu, 3x3": ((128, 128, 3, 3), {"norm": "group", "num_groups": 32, "activation": "silu"}),
    "batch, relu, 3x3": ((128, 128, 3, 3), {"norm": "batch", "activation": "relu"}),
    "1x1": ((256, 128, 1, 1), {}),
    "transposed 4x4": ((128, 64, 4, 4), {"transposed": True, "stride": (2, 2), "padding": (1, 1)}),
    "3 channels, 7x7": ((64, 3, 7, 7), {"padding_mode": "reflect"}),
    "depthwise 3x3": ((128, 1, 3, 3), {"groups": 128}),
}
"""Weights and settings; an odd kernel's padding keeps the size."""

ACCURACIES: dict[str, Accuracy | None] = {"": None, ", fast": "fast", ", exact": "exact"}


def _convolutions(dtype: torch.dtype) -> Iterator[tuple[str, Tensor, Tensor, Settings, Tensor]]:
    """(case, x, weight, settings, out) at 32 x 32, channels last; the first in each accuracy that the dtype has."""
    for name, (shape, options) in CONVOLUTIONS.items():
        for suffix, accuracy in ACCURACIES.items():
            if accuracy is not None and (dtype != torch.float32 or name != "group, silu, 3x3"):
                continue
            padding = {"padding": (shape[2] // 2, shape[3] // 2)} | options
            s = Settings(**padding, accuracy=accuracy)
            channels = shape[0] if s.transposed else shape[1] * s.groups
            outputs, size = (shape[1], 64) if s.transposed else (shape[0], 32)
            x, out, weight = (
                torch.empty(of, dtype=dtype, memory_format=torch.channels_last)
                for of in ((8, channels, 32, 32), (8, outputs, size, size), shape)
            )
            yield name + suffix, x, weight, s, out


def conv_calls(dtype: torch.dtype) -> Iterator[tuple[str, str, Any]]:
    """Units with a residual, a shift and the next norm's statistics."""
    from genfuse_kernels.conv_norm_act.triton_impl import conv_norm_act

    for case, x, weight, s, out in _convolutions(dtype):
        stats, bias, shift = (
            torch.empty(*out.shape[:2], 2),
            torch.empty(out.shape[1]),
            torch.empty(*out.shape[:2]),
        )
        with compiling_only() as found:
            conv_norm_act(out, stats, x, weight, bias, s, residual=out, shift=shift)
        yield "conv_norm_act", case, dict(found)["conv_norm_act_kernel"]


def gradient_calls(dtype: torch.dtype) -> Iterator[tuple[str, str, Any]]:
    """Of data and weights of the same units, and of norm, activation and dropout."""
    from genfuse_kernels.conv_norm_act.triton_data_gradient import data_gradient
    from genfuse_kernels.conv_norm_act.triton_norm_gradient import read_gradient
    from genfuse_kernels.conv_norm_act.triton_weight_gradient import weight_gradient

    for case, x, weight, s, out in _convolutions(dtype):
        if case.startswith(("batch", "1x1", "3 channels")):  # nothing that the others don't have
            continue
        with compiling_only() as found:
            data_gradient(out, weight, s, (x.shape[2], x.shape[3]))
        yield "conv_norm_act", f"data gradient, {case}", found[-1][1]
        with compiling_only() as found:
            weight_gradient(out, x, weight, s._replace(norm="none", activation="none"))
        for kernel, binary in dict(found).items():
            yield kernel.removesuffix("_kernel"), case, binary
    seeds = torch.zeros(4, dtype=torch.int64)
    for layout, memory_format in (
        ("contiguous", torch.contiguous_format),
        ("channels_last", torch.channels_last),
    ):
        x = torch.empty(4, 128, 64, 64, dtype=dtype, memory_format=memory_format)
        of_norm: dict[str, Settings] = {
            "group, silu": Settings(norm="group", num_groups=32, activation="silu"),
            "layer_pixel, gelu, dropout": Settings(norm="layer_pixel", activation="gelu", dropout=0.1),
        }
        for case, s in of_norm.items():
            tensors: UnitTensors = {"seeds": seeds, "norm_weight": torch.empty(128), "stats": None}
            with compiling_only() as found:
                read_gradient(x, x, s, tensors, through_stats=True, needs=("x", "norm_weight"))
            for kernel, binary in dict(found).items():
                if "gradient" in kernel or "pixel_sums" in kernel:
                    yield kernel.removesuffix("_kernel"), f"{case}, {layout}", binary


def tangent_calls(dtype: torch.dtype) -> Iterator[tuple[str, str, Any]]:
    """What a gradient penalty takes beside convolutions, of 64 pictures."""
    from genfuse_kernels.leaky_relu_tangent import triton_impl as leaky_relu_tangent
    from genfuse_kernels.norm_direction import triton_impl as norm_direction

    x = torch.empty(64, 128, 32, 32, dtype=dtype)
    mask, norms = x.to(torch.bool), torch.empty(64)
    yield (
        "leaky_relu_tangent",
        "contiguous",
        compile_call(leaky_relu_tangent, "leaky_relu_tangent", x, x, mask, 0.2),
    )
    yield "norm_direction", "contiguous", compile_call(norm_direction, "norm_direction", norms, x.float(), x)
    if dtype == torch.float32:
        yield from _norm_tangent_calls(x)


def _norm_tangent_calls(x: Tensor) -> Iterator[tuple[str, str, Any]]:
    from genfuse_kernels.norm_tangent.triton_gradient import norm_tangent_gradient
    from genfuse_kernels.norm_tangent.triton_impl import norm_tangent

    n, channels, height, width = x.shape
    sizes = {
        "instance": (n * channels, height * width, channels, 1),
        "layer": (n, channels * height * width, 1, channels * height * width),
    }
    for case, (sets, columns, *weight) in sizes.items():
        of, by = x.reshape(sets, columns), torch.empty(weight)
        with compiling_only() as found:
            norm_tangent(of, of, of, by, 1e-5)
            norm_tangent_gradient(of, of, of, by, 1e-5, ("x", "tangent", "weight"))
        for kernel, binary in dict(found).items():
            yield kernel.removesuffix("_kernel"), case, binary
