"""`conv_norm_act`: a convolution with the norm and activation before it and the epilogue behind it, as one kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genfuse.ops import check
from genfuse.ops.autocast import in_autocast, is_autocast
from genfuse.ops.conv_call import SCHEMA, Call
from genfuse.ops.conv_checks import check_axes, check_settings, check_unit
from genfuse.ops.conv_geometry import pictures, settings_of
from genfuse.ops.conv_gradient import differentiable
from genfuse.ops.conv_launch import launch, outputs
from genfuse.ops.library import (
    LIBRARY,
    define,
    fake,
    needs_dispatcher,
    needs_gradient,
    only_recorded,
)
from genfuse_kernels.conv_norm_act.settings import (
    Accuracy,
    Activation,
    Norm,
    PaddingMode,
    UnitTensors,
)
from genfuse_kernels.conv_norm_act.settings import Settings as Settings

Extent = int | tuple[int, ...]
"""One number for both axes, or (height, width); of a sequence one number or (length,)."""


def conv_norm_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Extent = 1,
    padding: Extent = 0,
    dilation: Extent = 1,
    groups: int = 1,
    transposed: bool = False,
    output_padding: Extent = 0,
    padding_mode: PaddingMode = "zeros",
    upsample: Extent = 1,
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
    dropout: float = 0.0,
    dropout_stream: int = 0,
    seeds: Tensor | None = None,
    shift: Tensor | None = None,
    residual: Tensor | None = None,
    residual_weight: Tensor | None = None,
    residual_skip: Tensor | None = None,
    scale: float = 1.0,
    out_activation: Activation = "none",
    pool: Extent = 1,
    accuracy: Accuracy | None = None,
    return_stats: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """pool(out_activation((conv(dropout(activation(norm([x, skip])))) + bias + shift + residual)·scale)).

    x         (N, C, H, W) float32, bfloat16 or float16 (arithmetic in float32), or any dtype on `aten`; planar and
              channels-last memory without a copy. Or a sequence (N, C, L): a picture of height 1, as which errors show
              it; what has H and W or is (height, width) below has L or is (length,) then
    weight    (K, C/groups, kernel height, width); transposed: (C, K/groups, ...)
    bias      (K,)
    stride, padding, dilation, groups, output_padding   as `torch.nn.functional.conv2d` and `conv_transpose2d`; padding
              may be (left, right, top, bottom) or (left, right) of a sequence too, as `torch.nn.functional.pad` has it,
              unless transposed
    padding_mode  "zeros", "reflect" or "circular", of the normalised and activated input
    upsample  2 repeats each pixel of the input twice along both axes
    skip      (N, C', H, W): channels behind x's, without a concatenation in memory
    norm      "none", "batch" (of running_mean and running_var (C,) where given, else of the batch), "instance",
              "group" (of num_groups), "layer" (over C, H, W), "layer_pixel" and "rms_pixel" (over C, of each pixel)
    norm_weight, norm_bias   (C,), or (N, C) for adaptive norms; without norm they apply to x itself
    film_scale, film_shift   (N, C): behind the norm, times 1 + film_scale plus film_shift
    stats     (N, C, 2) float32 as `return_stats` gave them for x: saves the pass that the norm would need
    dropout   share p in [0, 1) of the activated elements that become 0, the others times 1/(1 - p). Which ones follows
              from the sample's seed, `dropout_stream` and the place in (C, H, W) alone, the same in every backend
    seeds     (N,) int64, one a sample, where dropout > 0; a training step takes others than the one before
    dropout_stream   in [0, 2**32): gives layers that get the same seeds masks of their own
    shift     (N, K), as of a time embedding
    residual  like the output before it is pooled
    residual_weight  (K, C'', 1, 1): residual has C'' channels, and what is added is its 1x1 convolution, whose bias the
              caller adds to `bias`
    residual_skip    further channels behind those of such a residual
    pool      2 averages each 2x2 pixels of the result; a last odd row or column is dropped; not with transposed
    accuracy  "exact" forbids Winograd, whose bound is `spec.tolerance`'s, "fast" admits it; None, for bfloat16 and
              float16, that of float32 alone, whose error is a hundredth of the result's rounding
    return_stats  also return mean and biased variance over space of the output, (N, K, 2) float32

    In an autocast region float32 images are read in its dtype, by the norm too (PyTorch's batch norm would read them in
    float32, which matters where a mean is far above the deviation), with weights and parameters as they are.
    Returns the output (N, K, H', W'), channels-last where x is. Differentiable, twice too; backward keeps x, skip,
    the tensors above and the norm's statistics, and computes everything else anew. What is computed stands in
    `genfuse_kernels/conv_norm_act/spec.py`. ValueError or TypeError, naming the argument, before anything is computed;
    UnsupportedError where no permitted backend can run.
    """
    check_axes(x, weight=weight, residual_weight=residual_weight)
    settings = settings_of(
        x.ndim - 2,
        padding=padding,
        stride=stride,
        dilation=dilation,
        groups=groups,
        transposed=transposed,
        output_padding=output_padding,
        padding_mode=padding_mode,
        upsample=upsample,
        norm=norm,
        num_groups=num_groups,
        eps=eps,
        activation=activation,
        negative_slope=negative_slope,
        dropout=dropout,
        dropout_stream=dropout_stream,
        scale=scale,
        out_activation=out_activation,
        pool=pool,
        accuracy=accuracy,
    )
    tensors: UnitTensors = {
        "skip": skip,
        "norm_weight": norm_weight,
        "norm_bias": norm_bias,
        "running_mean": running_mean,
        "running_var": running_var,
        "stats": stats,
        "film_scale": film_scale,
        "film_shift": film_shift,
        "shift": shift,
        "residual": residual,
        "residual_weight": residual_weight,
        "residual_skip": residual_skip,
        "seeds": seeds,
    }
    check_settings(settings)
    check.flag("return_stats", return_stats)
    y, out_stats = unit(x, weight, bias, settings, tensors, return_stats)
    return (y, out_stats) if return_stats else y


def unit(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: Settings,
    tensors: UnitTensors,
    return_stats: bool = False,
    measured: bool = False,
    recipe: Callable[[], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """`conv_norm_act` for callers that keep their settings, checked once; those of a sequence have height 1.

    measured   `stats` are x's and skip's own, which the norm would measure: their gradient goes on to x and skip
    recipe     makes an image x again: where our kernels run, backward does not keep x then
    """
    check_axes(x, weight=weight, residual_weight=tensors.get("residual_weight"))
    if is_autocast(x):
        images: Any = {name: tensors.get(name) for name in ("skip", "residual", "residual_skip")}
        cast: Any = {**tensors, **{name: in_autocast(image) for name, image in images.items()}}
        x, tensors = in_autocast(x), cast
    if x.ndim == 4:
        return _unit(x, weight, bias, settings, tensors, return_stats, measured, recipe)
    y, stats = _unit(x.unsqueeze(2), weight, bias, settings, pictures(tensors), return_stats, measured, None)
    return y.squeeze(2), stats


def _unit(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: Settings,
    tensors: UnitTensors,
    return_stats: bool,
    measured: bool,
    recipe: Callable[[], Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Of a picture; the weights keep their own axes, by which they are known once packed."""
    check_unit(x, weight, bias, settings, tensors)  # type: ignore[arg-type]
    call = Call(x, weight, bias, settings, tensors, return_stats)
    if not needs_dispatcher(*call.inputs):
        return launch(*call)
    if only_recorded(*call.inputs):
        return differentiable(call, measured, recipe)
    call = call.measuring() if measured else call
    result: tuple[Tensor, Tensor] = torch.ops.genfuse.conv_norm_act(*call.inputs, *settings, return_stats)
    return result


# --- registration ---

define(
    f"conv_norm_act(Tensor x, Tensor weight, Tensor? bias, {SCHEMA}, bool return_stats) -> (Tensor, Tensor)"
)


@torch.library.impl(LIBRARY, "conv_norm_act", "CPU")
@torch.library.impl(LIBRARY, "conv_norm_act", "CUDA")
def _conv_norm_act(*arguments: Any) -> tuple[Tensor, Tensor]:
    return launch(*Call.of(arguments), trains=True)  # which a traced call does not say


@fake("conv_norm_act")
def _fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    call = Call.of(arguments)
    return outputs(call.x, call.weight, call.settings, call.return_stats)


@torch.library.impl(LIBRARY, "conv_norm_act", "Autograd")
def _autograd(*arguments: Any) -> tuple[Tensor, Tensor]:
    call = Call.of(arguments)
    if needs_gradient(*call.inputs):
        return differentiable(call)
    with torch._C._AutoDispatchBelowAutograd():
        result: tuple[Tensor, Tensor] = torch.ops.genfuse.conv_norm_act(*arguments)
    return result
