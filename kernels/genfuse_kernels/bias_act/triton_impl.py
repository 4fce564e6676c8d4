"""`bias_act` and its gradient in Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.bias_act.spec import Settings, layout
from genfuse_kernels.common.activation import activated, derivative
from genfuse_kernels.common.target import warps_of

_BLOCK = 1024


@triton.jit(do_not_specialize=["slope", "gain", "bound"])
def bias_act_kernel(
    out, raw, x, gradient, bias, scale, noise, count, channels, pixels, noise_step, slope, gain, bound,
    ACTIVATION: tl.constexpr, BOUNDED: tl.constexpr, LAST: tl.constexpr, OF_RESULT: tl.constexpr,
    BEFORE_SCALE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One block of elements in memory's order: of the result, or with a gradient of x's.

    raw   with a gradient: also what it is before the scale, which bias's and scale's are sums of; or None
    """
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = place < count
    if LAST:
        channel, pixel = place % channels, place // channels % pixels
    else:
        channel, pixel = place // pixels % channels, place % pixels
    sample = place // (channels * pixels)
    value = tl.load(x + place, mask=exists, other=0.0).to(tl.float32)
    if scale is not None:
        factor = tl.load(scale + sample * channels + channel, mask=exists, other=0.0)
    if OF_RESULT:
        value = tl.where(gain < 0, -value, value)
    else:
        if scale is not None:
            value *= factor
        if noise is not None:
            value += tl.load(noise + sample * noise_step + pixel, mask=exists, other=0.0)
        if bias is not None:
            value += tl.load(bias + channel, mask=exists, other=0.0)
    if gradient is None:
        made = activated(value, ACTIVATION, slope) * gain
        if BOUNDED:
            made = tl.clamp(made, -bound, bound, propagate_nan=tl.PropagateNan.ALL)
    else:
        made = tl.load(gradient + place, mask=exists, other=0.0).to(tl.float32)
        made *= derivative(value, ACTIVATION, slope) * gain
        if BOUNDED:
            result = value if OF_RESULT else activated(value, ACTIVATION, slope) * gain
            made = tl.where(tl.abs(result) >= bound, 0.0, made)
        if raw is not None:
            tl.store(raw + place, made, mask=exists)
        if scale is not None and not BEFORE_SCALE:
            made *= factor
    tl.store(out + place, made.to(out.dtype.element_ty), mask=exists)


def bias_act(
    out: Tensor,
    x: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    settings: Settings,
) -> None:
    """Fill `out`; see `spec`. Both in one dense order, shapes, dtypes and devices the caller's to check."""
    _run(out, x, bias, scale, noise, settings)


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
    raw = torch.empty_like(x, dtype=torch.float32) if wants_bias or wants_scale else None
    _run(out, x, bias, scale, noise, settings, gradient, of_result, before_scale, raw)
    if raw is None:
        return None, None
    axes = [axis for axis in range(x.ndim) if axis != settings.dim]
    of_bias = (raw.sum(axes) if axes else raw) if wants_bias else None
    if not wants_scale:
        return of_bias, None
    return of_bias, (raw * x.float()).flatten(2).sum(2) if x.ndim > 2 else raw * x.float()


def _run(
    out: Tensor,
    x: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    s: Settings,
    gradient: Tensor | None = None,
    of_result: bool = False,
    before_scale: bool = False,
    raw: Tensor | None = None,
) -> None:
    form = layout(x, s.dim, scale is not None or noise is not None)
    assert form is not None
    count = x.numel()
    if count == 0:
        return
    bias_act_kernel[(triton.cdiv(count, _BLOCK),)](
        out, raw, x, gradient, _wide(bias), _wide(scale), _wide(noise), count, form.channels, form.pixels,
        0 if noise is None or noise.shape[0] == 1 else form.pixels,
        s.negative_slope, s.gain, 0.0 if s.clamp is None else s.clamp,
        ACTIVATION=s.activation, BOUNDED=s.clamp is not None, LAST=form.channels_last, OF_RESULT=of_result,
        BEFORE_SCALE=before_scale, BLOCK=_BLOCK, num_warps=warps_of(128), enable_fp_fusion=True,
    )  # fmt: skip


def _wide(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.to(torch.float32).contiguous()
