"""The calls of CUDA launchers whose accesses are recorded, for the cards of the instantiations that they launch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genfuse_bench.call import Call, ones
from genfuse_bench.card_calls import LAYOUTS, sampler_row
from genfuse_kernels.conv_norm_act.settings import Accuracy, Settings
from genfuse_kernels.conv_norm_act.spec import flops


def cuda_calls(dtype: torch.dtype) -> Iterator[Call]:
    """Of every op that takes the dtype, at a U-Net's shapes, of one picture."""
    yield from _sampler_calls(dtype)
    if dtype != torch.float64:
        yield from _norm_calls(dtype)
        yield from _convolution_calls(dtype)


def _images(dtype: torch.dtype, layout: str, *shape: int) -> Iterator[Tensor]:
    """As many as are asked for; "planes": of a larger image, which no instantiation takes as one run of memory."""
    while True:
        if layout == "planes":
            yield ones(*shape[:-1], 2 * shape[-1], dtype=dtype)[..., ::2]
        else:
            yield ones(*shape, dtype=dtype, layout=LAYOUTS[layout])


def _sampler_calls(dtype: torch.dtype) -> Iterator[Call]:
    from genfuse_kernels.philox_normal.cuda_impl import philox_normal
    from genfuse_kernels.sampler_reduce.cuda_impl import sampler_reduce
    from genfuse_kernels.sampler_step.cuda_impl import sampler_step

    compute = torch.float64 if dtype == torch.float64 else torch.float32
    table, scales = sampler_row(torch.float32), ones(1, 2, dtype=compute)
    index, seeds = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    for layout in (*LAYOUTS, "planes"):
        new = _images(dtype, layout, 1, 4, 64, 64)
        out, x, output, uncond, variance, slot = (next(new) for _ in range(6))
        everything: dict[str, Any] = {
            "uncond": uncond,
            "variance": variance,
            "history": slot[None],
            "noise": None,
            "noise_prev": None,
            "seeds": seeds,
            "stream": 0,
            "scales": scales,
        }
        yield Call(
            "everything", sampler_step, (out, None, x, output, table, index), everything, ring="history"
        )
        yield Call("noise", philox_normal, (out, seeds, index, 0))
        yield Call("guided", sampler_reduce, (scales, x, output, table, index), {"uncond": uncond})


def _norm_calls(dtype: torch.dtype) -> Iterator[Call]:
    from genfuse_kernels.conv_norm_act.cuda_norm_gradient import read_gradient
    from genfuse_kernels.norm_act.cuda_impl import norm_act

    seeds, weights = torch.zeros(1, dtype=torch.int64), {"norm_weight": ones(128), "norm_bias": ones(128)}
    silu = Settings(norm="group", num_groups=32, activation="silu")
    pixel = Settings(norm="layer_pixel", activation="gelu")
    pool = Settings(norm="batch", activation="relu", pool=(2, 2))
    for layout in (*LAYOUTS, "planes"):
        new = _images(dtype, layout, 1, 128, 32, 32)
        out, x, gradient = (next(new) for _ in range(3))
        yield Call("group, silu", norm_act, (out, None, x, silu), weights)
        yield Call("statistics", norm_act, (out, ones(1, 128, 2), x, silu), weights)
        yield Call("layer_pixel, gelu", norm_act, (out, None, x, pixel), weights)
        small = next(_images(dtype, layout, 1, 128, 16, 16))
        yield Call("pool", norm_act, (small, None, x, pool), weights)
        for s in (silu, pixel):
            tensors = {"seeds": seeds, "norm_weight": weights["norm_weight"], "stats": None}
            options = {"through_stats": True, "needs": ("x", "norm_weight")}
            yield Call("gradient", read_gradient, (gradient, x, s, tensors), options)


def _convolution_calls(dtype: torch.dtype) -> Iterator[Call]:
    """3 x 3 of 128 and of 64 channels at 32 x 32 and 8 x 8, and their gradients; statistics of x are given.

    Of 1 x 1 the gradient of the weights alone, which has tiles of its own.
    """
    from genfuse_kernels.conv_norm_act.cuda_impl import conv_norm_act
    from genfuse_kernels.conv_norm_act.cuda_input_gradient import input_gradient
    from genfuse_kernels.conv_norm_act.cuda_weight_gradient import weight_gradient

    accuracies: tuple[Accuracy | None, ...] = ("fast", None, "exact") if dtype == torch.float32 else (None,)
    for layout in (*LAYOUTS, "planes"):
        for size, channels in ((32, 128), (8, 128), (32, 64), (8, 64)):
            new = _images(dtype, layout, 1, channels, size, size)
            out, x, residual = (next(new) for _ in range(3))
            weight = ones(channels, channels, 3, 3, dtype=dtype, layout=torch.channels_last)
            work = flops(1, channels, size * size, 9 * channels)
            for accuracy in accuracies:
                s = Settings(
                    norm="group", num_groups=32, activation="silu", padding=(1, 1), accuracy=accuracy
                )
                tensors = {"stats": ones(1, channels, 2), "norm_weight": ones(channels)}
                forward = (out, ones(1, channels, 2), x, weight, None, s)
                yield Call("3x3", conv_norm_act, forward, {**tensors, "residual": residual}, flops=work)
                back = {"through_stats": True, "needs": ("x", "norm_weight")}
                yield Call("3x3", input_gradient, (out, weight, x, s, tensors), back, flops=work)
                if size == 32 and channels == 128:
                    yield Call("3x3", weight_gradient, (out, x, weight, s), tensors, flops=work)
                    point, of_point = weight[:, :, :1, :1].contiguous(), s._replace(padding=(0, 0))
                    yield Call("1x1", weight_gradient, (out, x, point, of_point), tensors, flops=work // 9)
