"""`bias_act` and its gradient by the C++ kernel: csrc/bias_act."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.bias_act.spec import ACTIVATIONS, Layout, Settings, layout
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES
from genfuse_kernels.common.widened import widened


def bias_act(
    out: Tensor,
    x: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    settings: Settings,
) -> None:
    """Fill `out`; see `spec`. Both in one dense order, shapes, dtypes and devices the caller's to check."""
    form = layout(x, settings.dim, scale is not None or noise is not None)
    assert form is not None
    _run(out, x, bias, scale, noise, settings, form)


def bias_act_gradient(
    out: Tensor,
    gradient: Tensor,
    x: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    settings: Settings,
    of_result: bool,
    before_scale: bool,
    wants_bias: bool,
    wants_scale: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Fill x's gradient `out`, and return the bias's (C,) and the scale's (N, C), float32, where they are wanted.

    of_result     x is the result, whose sign tells the derivative
    before_scale  `out` is the gradient of x·scale
    """
    if out.numel() == 0:
        return (
            torch.zeros(x.shape[settings.dim], device="cpu") if wants_bias else None,
            torch.zeros(x.shape[:2], device="cpu") if wants_scale else None,
        )
    form = layout(x, settings.dim, scale is not None or noise is not None)
    assert form is not None
    blocks = _cpu.bias_act_blocks(form.pixels) if form.channels_last else 1
    shape = (form.samples, blocks, form.channels)
    of_bias = torch.empty(shape, dtype=torch.float64, device="cpu") if wants_bias else None
    of_scale = torch.empty(shape, dtype=torch.float64, device="cpu") if wants_scale else None
    how = (of_result, before_scale)
    _run(out, x, bias, scale, noise, settings, form, gradient, how, of_bias, of_scale)
    return (
        None if of_bias is None else of_bias.sum((0, 1)).float(),
        None if of_scale is None else of_scale.sum(1).float(),
    )


def _run(
    out: Tensor,
    x: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    s: Settings,
    form: Layout,
    gradient: Tensor | None = None,
    how: tuple[bool, bool] = (False, False),
    bias_sums: Tensor | None = None,
    scale_sums: Tensor | None = None,
) -> None:
    bias, scale, noise = widened(bias), widened(scale), widened(noise)
    _cpu.bias_act(
        DTYPE_CODES[x.dtype],
        torch.get_num_threads(),
        form.channels_last,
        form[:3],
        ACTIVATIONS.index(s.activation),
        s.negative_slope,
        s.gain,
        math.inf if s.clamp is None else s.clamp,
        x.data_ptr(),
        out.data_ptr(),
        _address(bias),
        _address(scale),
        _address(noise),
        0 if noise is None or noise.shape[0] == 1 else form.pixels,
        _address(gradient),
        *how,
        _address(bias_sums),
        _address(scale_sums),
    )


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
