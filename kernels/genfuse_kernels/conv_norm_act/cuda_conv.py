"""The convolution in CUDA, a launch a phase: csrc/conv_norm_act/cuda.cu."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from genfuse_kernels.common import planes
from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_launch import launch
from genfuse_kernels.common.cuda_moments import fold_moments, room_for_parts
from genfuse_kernels.conv_norm_act.axes import Axis
from genfuse_kernels.conv_norm_act.cuda_arguments import (
    ARGUMENTS,
    dense,
    image,
    projection,
    read_weights,
    set_axes,
    set_made,
    source,
    vector,
)
from genfuse_kernels.conv_norm_act.cuda_plan import (
    fitting_tile,
    precision_of,
    projection_axes,
    shared_bytes,
)
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, Settings


def convolve(
    out: Tensor,
    stats_out: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    s: Settings,
    axes: tuple[list[Axis], list[Axis]],
    *,
    inputs_first: bool,
    skip: Tensor | None = None,
    table: Tensor | None = None,
    shift: Tensor | None = None,
    residual: Tensor | None = None,
    residual_weight: Tensor | None = None,
    residual_skip: Tensor | None = None,
) -> None:
    """Fill `out` and `stats_out`; of `s` what is not geometry, without pooling. Any strides.

    table         (N, C, 4) of x and skip, by `cuda_norm`; `s.activation` follows it
    inputs_first  weight is (C, K/groups, height, width), else (K, C/groups, height, width)

    ValueError where what a block reads does not fit shared memory, as `cuda_plan.limit` says beforehand.
    """
    phases = [(rows, columns) for rows in axes[0] for columns in axes[1]]
    inputs = (x.shape[1] + (0 if skip is None else skip.shape[1])) // s.groups
    outputs = out.shape[1] // s.groups
    projects = residual is not None and residual_weight is not None
    tile = fitting_tile(phases, outputs, x.dtype, one_sample=stats_out is not None, projects=projects)
    if tile is None:
        raise ValueError(f"what the kernel {tuple(weight.shape)} reads of a block does not fit shared memory")
    weights = read_weights(weight, x.dtype, s.groups, inputs_first)
    bias, shift = dense(bias), dense(shift)
    sources = [source(x, skip, weights, table, s)]
    if residual is not None and residual_weight is not None:
        of_projection = read_weights(residual_weight, x.dtype, 1, False)
        sources.append(projection(residual, residual_skip, of_projection, outputs))
    images = [given for given in (out, x, skip, residual, residual_skip) if given is not None]
    kernel = Kernel(
        "conv_norm_act",
        x.dtype,
        "channels_last" if _are_chunked(images, outputs, inputs) else "planes",
        any(planes.reach(given) >= planes.INT32_LIMIT for given in images),
        macros=tile.macros(precision_of(x.dtype, s.accuracy)),
    )
    arguments = np.zeros((), ARGUMENTS)
    arguments["out"], arguments["residual"] = image(out), image(None if projects else residual)
    arguments["bias"], arguments["shift"] = vector(bias), vector(shift)
    arguments["batch"], arguments["samples"] = x.shape[0], tile.samples
    arguments["outputs"], arguments["all_outputs"] = outputs, out.shape[1]
    arguments["out_activation"] = ACTIVATIONS.index(s.out_activation)
    arguments["slope"], arguments["scale"] = s.negative_slope, s.scale
    arguments["sources"] = len(sources)
    output_blocks = s.groups * -(-outputs // tile.outputs)
    arguments["output_blocks"] = output_blocks
    parts = [tile.parts(x.dtype) * math.prod(tile.tiles(*phase)) for phase in phases]
    moments = None if stats_out is None else room_for_parts(sum(parts), x.shape[0] * out.shape[1], x.device)
    if moments is not None:
        arguments["moments"], arguments["parts"] = moments.data_ptr(), sum(parts)
    for number, phase in enumerate(phases):
        read = [phase, projection_axes(*phase)][: len(sources)]
        set_axes(sources[0], phase, tile, x.shape[2:], s.upsample)
        if projects:
            set_axes(sources[1], read[1], tile, out.shape[2:], (1, 1))
        for i, of in enumerate(sources):
            arguments["source"][i] = of
        set_made(arguments, phase, tile)
        arguments["first_part"] = sum(parts[:number])
        blocks = math.prod(tile.tiles(*phase)) * -(-x.shape[0] // tile.samples) * output_blocks
        launch(kernel, blocks, arguments, x.device, tile.threads(x.dtype), shared_bytes(tile, read))
    if stats_out is not None and moments is not None:
        fold_moments(stats_out, moments)


def _are_chunked(images: Sequence[Tensor], *counts: int) -> bool:
    """Whether all images, and groups of `counts` channels, can be read and written 16 bytes at a time."""
    each = 16 // images[0].element_size()
    if any(count % each for count in (*counts, *(image.shape[1] for image in images))):
        return False
    return all(image.data_ptr() % 16 == 0 and _is_chunked(image, each) for image in images)


def _is_chunked(image: Tensor, each: int) -> bool:
    apart = [0 if size == 1 else stride for size, stride in zip(image.shape, image.stride(), strict=True)]
    return apart[1] == 1 and not any(stride % each for stride in (apart[0], apart[2], apart[3]))
