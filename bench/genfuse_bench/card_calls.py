"""The calls of Triton launchers that have kernel cards; those of convolutions in `card_convolutions`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genfuse_bench.call import Call, ones
from genfuse_bench.card_convolutions import conv_calls, gradient_calls
from genfuse_bench.card_network import network_calls
from genfuse_kernels.conv_norm_act.settings import Settings

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def all_calls(dtype: torch.dtype) -> Iterator[Call]:
    """Those of every op that takes the dtype."""
    yield from sampler_calls(dtype)
    yield from list_calls(dtype)
    yield from network_calls(dtype)
    yield from lerp_calls(dtype)
    if dtype != torch.float64:
        yield from norm_calls(dtype)
        yield from conv_calls(dtype)
        yield from gradient_calls(dtype)
        yield from tangent_calls(dtype)
        yield from bias_act_calls(dtype)


def sampler_row(dtype: torch.dtype) -> Tensor:
    """A table whose rows read every input, clip, threshold and store."""
    from genfuse_kernels.sampler_step.row import COLUMN, ROW

    row = torch.full((8, ROW), 0.5, dtype=dtype)
    row[:, COLUMN["clip_min"]] = -1.0
    row[:, COLUMN["threshold_max"]] = 1.0
    row[:, COLUMN["store"]] = 0.0
    return row


def sampler_calls(dtype: torch.dtype) -> Iterator[Call]:
    """The ops of a sampler; the index is on the device."""
    from genfuse_kernels.philox_normal.triton_impl import philox_normal
    from genfuse_kernels.sampler_reduce.triton_impl import sampler_reduce
    from genfuse_kernels.sampler_step.triton_impl import sampler_step

    compute = torch.float64 if dtype == torch.float64 else torch.float32
    table, scales = sampler_row(compute), ones(2, 2, dtype=compute)
    index, seeds = torch.zeros(1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    none = dict.fromkeys(("uncond", "variance", "history", "noise", "noise_prev", "seeds", "scales"))
    for layout in LAYOUTS:

        def new(*leading: int, layout: str = layout) -> Tensor:
            tensor = ones(*leading, 4, 64, 64, dtype=dtype)
            return tensor if layout == "contiguous" else tensor.view(*leading, 64, 64, 4).movedim(-1, -3)

        x = new(2)

        def step(case: str, x: Tensor = x, **given: Any) -> Call:
            arguments = (new(2), None, x, new(2), table, index)
            return Call(case, sampler_step, arguments, none | {"stream": 0} | given, ring="history")

        yield step(f"deterministic, {layout}")
        yield step(f"multistep, {layout}", history=new(2, 2))
        yield step(f"stochastic, {layout}", seeds=seeds)
        everything = {"uncond": new(2), "variance": new(2), "history": new(4, 2)}
        yield step(f"everything, {layout}", **everything, seeds=seeds, scales=scales)
        yield Call(layout, philox_normal, (new(2), seeds, index, 0))
        yield Call(layout, sampler_reduce, (scales, x, new(2), table, index), {"uncond": new(2)})


def list_calls(dtype: torch.dtype) -> Iterator[Call]:
    """Ops that go through a network's tensors: three of them."""
    from genfuse_kernels.clip_grad_norm.triton_impl import clip_grad_norm
    from genfuse_kernels.clip_weights.triton_impl import clip_weights
    from genfuse_kernels.ema_update.triton_impl import ema_update

    parameters, averages = (
        [ones(*shape, dtype=dtype) for shape in ((128, 128, 3, 3), (256, 128), (4096,))] for _ in "pa"
    )
    norm = torch.ones((), dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    yield Call("list", ema_update, (averages, parameters, 0.999))
    yield Call("list", clip_weights, (parameters, 0.01))
    yield Call("list", clip_grad_norm, (norm, parameters, 1e-3, False))


def norm_calls(dtype: torch.dtype) -> Iterator[Call]:
    """Norms of 128 channels at 64 x 64, each kernel once a case."""
    from genfuse_kernels.norm_act.triton_impl import norm_act

    parameters = {"norm_weight": ones(128), "norm_bias": ones(128)}
    seeds = torch.zeros(2, dtype=torch.int64)
    for layout, memory_format in LAYOUTS.items():
        x, y = (ones(2, 128, 64, 64, dtype=dtype, layout=memory_format) for _ in "xy")
        silu = Settings(norm="group", num_groups=32, activation="silu")
        calls: dict[str, tuple[Settings, Tensor | None, dict[str, Any]]] = {
            "group, silu": (silu, None, {}),
            "group, silu, dropout, residual, statistics": (
                silu._replace(dropout=0.1),
                ones(2, 128, 2),
                {"residual": y, "seeds": seeds},
            ),
            "layer_pixel, gelu": (Settings(norm="layer_pixel", activation="gelu"), None, {}),
            "batch, relu, pool": (Settings(norm="batch", activation="relu", pool=(2, 2)), None, {}),
        }
        for case, (settings, stats, given) in list(calls.items())[: 2 if layout == "contiguous" else None]:
            out = y[:, :, :: settings.pool[0], :: settings.pool[1]].clone(memory_format=memory_format)
            yield Call(f"{case}, {layout}", norm_act, (out, stats, x, settings), {**parameters, **given})


def bias_act_calls(dtype: torch.dtype) -> Iterator[Call]:
    """A style layer's end, and its gradient."""
    from genfuse_kernels.bias_act.spec import Settings as Ends
    from genfuse_kernels.bias_act.triton_impl import bias_act, bias_act_gradient

    bias, scale, noise = ones(128), ones(2, 128), ones(2, 1, 64, 64)
    s = Ends(activation="leaky_relu", clamp=256.0)
    for layout, memory_format in LAYOUTS.items():
        out, x, gradient = (ones(2, 128, 64, 64, dtype=dtype, layout=memory_format) for _ in "oxg")
        yield Call(f"bias, {layout}", bias_act, (out, x, bias, None, None, s))
        yield Call(f"scale, noise, bias, {layout}", bias_act, (out, x, bias, scale, noise, s))
        flags = (True, False, False, False)
        yield Call(f"gradient, {layout}", bias_act_gradient, (out, gradient, x, None, None, None, s, *flags))


def lerp_calls(dtype: torch.dtype) -> Iterator[Call]:
    """Points between two pairs of pictures, and the gradient by one of them."""
    from genfuse_kernels.philox_lerp.triton_impl import philox_lerp

    for layout, memory_format in LAYOUTS.items():
        out, start, end = (ones(2, 3, 64, 64, dtype=dtype, layout=memory_format) for _ in "ose")
        yield Call(layout, philox_lerp, (out, start, end, 2**40, 0))
        yield Call(f"gradient, {layout}", philox_lerp, (out, None, end, 2**40, 0))


def tangent_calls(dtype: torch.dtype) -> Iterator[Call]:
    """What a gradient penalty takes beside convolutions, of two pictures."""
    from genfuse_kernels.leaky_relu_tangent.triton_impl import leaky_relu_tangent
    from genfuse_kernels.norm_direction.triton_impl import norm_direction

    out, x = (ones(2, 128, 32, 32, dtype=dtype) for _ in "ox")
    yield Call("contiguous", leaky_relu_tangent, (out, x, x.to(torch.bool), 0.2))
    yield Call("contiguous", norm_direction, (ones(2), x.float(), x))
    if dtype == torch.float32:
        yield from _norm_tangent_calls(x)


def _norm_tangent_calls(x: Tensor) -> Iterator[Call]:
    from genfuse_kernels.norm_tangent.triton_gradient import norm_tangent_gradient
    from genfuse_kernels.norm_tangent.triton_impl import norm_tangent

    n, channels, height, width = x.shape
    sizes = {
        "instance": (n * channels, height * width, channels, 1),
        "layer": (n, channels * height * width, 1, channels * height * width),
    }
    for case, (sets, columns, *weight) in sizes.items():
        out, of, gradient = (torch.rand(sets, columns) for _ in "oxg")
        by = ones(*weight)
        yield Call(case, norm_tangent, (out, of, gradient, by, 1e-5), kernels=("norm_tangent",))
        wanted = ("x", "tangent", "weight")
        yield Call(case, norm_tangent_gradient, (out, of, gradient, by, 1e-5, wanted))
