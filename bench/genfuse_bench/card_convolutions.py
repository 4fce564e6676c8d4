"""The calls of Triton's convolutions, and of their gradients, that have kernel cards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genfuse_bench.call import Call, ones
from genfuse_kernels.conv_norm_act.settings import Accuracy, Settings, UnitTensors
from genfuse_kernels.conv_norm_act.spec import flops

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
                ones(*of, dtype=dtype, layout=torch.channels_last)
                for of in ((2, channels, 32, 32), (2, outputs, size, size), shape)
            )
            yield name + suffix, x, weight, s, out


def _flops(x: Tensor, weight: Tensor, s: Settings) -> int:
    """Of the convolution, and so of each of its gradients: each pixel of the side that is convolved meets every tap."""
    if s.transposed:
        return flops(x.shape[0], x.shape[1], x.shape[2] * x.shape[3], weight[0].numel())
    return flops(x.shape[0], weight.shape[0], x.shape[2] * x.shape[3], weight[0].numel())


def conv_calls(dtype: torch.dtype) -> Iterator[Call]:
    """Units with a residual, a shift and the next norm's statistics; their own come from the layer before."""
    from genfuse_kernels.conv_norm_act.triton_impl import conv_norm_act

    for case, x, weight, s, out in _convolutions(dtype):
        stats, bias, shift = ones(*out.shape[:2], 2), ones(out.shape[1]), ones(*out.shape[:2])
        given = None if s.norm == "none" else ones(*x.shape[:2], 2)
        yield Call(
            case,
            conv_norm_act,
            (out, stats, x, weight, bias, s),
            {"residual": out.clone(), "shift": shift, "stats": given},
            ("conv_norm_act",),
            _flops(x, weight, s),
        )


def gradient_calls(dtype: torch.dtype) -> Iterator[Call]:
    """Of data and weights of the same units, and of norm, activation and dropout."""
    from genfuse_kernels.conv_norm_act.triton_data_gradient import data_gradient
    from genfuse_kernels.conv_norm_act.triton_weight_gradient import weight_gradient

    for case, x, weight, s, out in _convolutions(dtype):
        if case.startswith(("batch", "1x1", "3 channels")):  # nothing that the others don't have
            continue
        work = _flops(x, weight, s)
        of_data = (out, weight, s, (x.shape[2], x.shape[3]))
        yield Call(f"data gradient, {case}", data_gradient, of_data, flops=work)
        plain = s._replace(norm="none", activation="none")
        yield Call(case, weight_gradient, (out, x, weight, plain), flops=work)
    yield from _norm_gradient_calls(dtype)


def _norm_gradient_calls(dtype: torch.dtype) -> Iterator[Call]:
    from genfuse_kernels.conv_norm_act.triton_norm_gradient import read_gradient

    for layout in (torch.contiguous_format, torch.channels_last):
        x, gradient = (ones(2, 128, 64, 64, dtype=dtype, layout=layout) for _ in "xg")
        of_norm: dict[str, Settings] = {
            "group, silu": Settings(norm="group", num_groups=32, activation="silu"),
            "layer_pixel, gelu, dropout": Settings(norm="layer_pixel", activation="gelu", dropout=0.1),
        }
        named = "channels_last" if layout == torch.channels_last else "contiguous"
        for case, s in of_norm.items():
            tensors: UnitTensors = {
                "seeds": torch.zeros(2, dtype=torch.int64),
                "norm_weight": ones(128),
                "stats": None,
            }
            yield Call(
                f"{case}, {named}",
                read_gradient,
                (gradient, x, s, tensors),
                {"through_stats": True, "needs": ("x", "norm_weight")},
                ("gradient_sums", "pixel_sums", "read_gradient"),
            )
