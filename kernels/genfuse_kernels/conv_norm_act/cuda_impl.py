"""`conv_norm_act` by the CUDA kernel: csrc/conv_norm_act/cuda.cu."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels.common import planes
from genfuse_kernels.common.cuda_kernel import Kernel, launch
from genfuse_kernels.common.cuda_moments import fold_moments, room_for_parts
from genfuse_kernels.common.planes import reach
from genfuse_kernels.conv_norm_act.axes import Axis
from genfuse_kernels.conv_norm_act.cuda_norm import norm_table
from genfuse_kernels.conv_norm_act.cuda_plan import (
    axes_of,
    fitting_tile,
    halo_of,
    precision_of,
    projection_axes,
    ring,
    shared_bytes,
)
from genfuse_kernels.conv_norm_act.settings import (
    ACTIVATIONS,
    PADDING_MODES,
    Settings,
    UnitTensors,
    kernel_size,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


def _struct(*fields: str) -> np.dtype[Any]:
    return np.dtype([(name, "i8") for name in fields])


_IMAGE = _struct("data", "batch", "channel", "row", "column")
_AXIS = _struct(
    "size", "upsample", "step", "low", "spacing", "halo", "stride", "taps", "tap_first", "tap_step",
    "weight_first", "weight_step",
)  # fmt: skip
_SOURCE = np.dtype(
    [
        ("x", _IMAGE),
        ("skip", _IMAGE),
        ("weights", _struct("data", "group", "output", "row", "column")),
        *((name, "i8") for name in ("norm", "activation", "x_channels", "channels", "inputs")),
        *((name, "i8") for name in ("group_channels", "mode", "ring")),
        ("rows", _AXIS),
        ("columns", _AXIS),
    ]
)
_MADE = _struct("made", "tile", "tiles", "phase", "phase_step")
_VECTOR = _struct("data", "is_float", "batch")

ARGUMENTS = np.dtype(
    [
        ("out", _IMAGE),
        ("residual", _IMAGE),
        ("bias", _VECTOR),
        ("shift", _VECTOR),
        *((name, "i8") for name in ("moments", "first_part", "parts", "sources")),
        ("source", _SOURCE, 2),
        ("rows", _MADE),
        ("columns", _MADE),
        *((name, "i8") for name in ("batch", "samples", "outputs", "all_outputs")),
        *((name, "i8") for name in ("out_activation", "output_blocks")),
        ("slope", "f8"),
        ("scale", "f8"),
    ]
)
"""The kernel's `ConvArguments`."""


def conv_norm_act(
    out: Tensor,
    stats_out: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: Settings,
    **tensors: Unpack[UnitTensors],
) -> None:
    """Fill `out` and `stats_out`; see `spec`, and `cuda_plan.limit` for what it does not take. Any strides.

    Weights are read as (outputs, kernel, inputs) in x's dtype, inputs a multiple of 16 bytes: a copy where they lie
    otherwise.
    """
    if out.numel() == 0:
        return
    s = settings
    skip, residual, projection = tensors.get("skip"), tensors.get("residual"), tensors.get("residual_weight")
    residual_skip, shift = tensors.get("residual_skip"), tensors.get("shift")
    made = (out.shape[2], out.shape[3])
    rows, columns = axes_of(s, kernel_size(weight.shape), made)
    phases = [(of_row, of_column) for of_row in rows for of_column in columns]
    inputs = (x.shape[1] + (0 if skip is None else skip.shape[1])) // s.groups
    outputs = out.shape[1] // s.groups
    tile = fitting_tile(
        phases, outputs, x.dtype, one_sample=stats_out is not None, projects=projection is not None
    )
    if tile is None:
        raise ValueError(f"the halo of kernel {kernel_size(weight.shape)} does not fit shared memory")
    kept = [read_weights(weight, x.dtype, s.groups, s.transposed)]
    table = norm_table(x, skip, s, tensors)
    sources = [_source(x, skip, kept[0], table, s)]
    if projection is not None and residual is not None:
        kept.append(read_weights(projection, x.dtype, 1, False))
        projected = _source(residual, residual_skip, kept[1], None, Settings())
        projected["group_channels"] = 0  # every group of outputs reads all channels
        projected["weights"]["group"] = outputs * kept[1].stride(1)
        sources.append(projected)
    images = [out, x, skip, residual, residual_skip]
    order = "channels_last" if _is_chunked(images, outputs, inputs) else "planes"
    wide = any(image is not None and reach(image) >= planes.INT32_LIMIT for image in images)
    kernel = Kernel(
        "conv_norm_act",
        x.dtype,
        order,
        wide,
        (
            ("PIXELS", tile.pixels),
            ("OUTPUTS", tile.outputs),
            ("PRECISION", precision_of(x.dtype, s.accuracy)),
        ),
    )
    arguments = np.zeros((), ARGUMENTS)
    arguments["out"] = _image(out)
    arguments["residual"] = _image(None if projection is not None else residual)
    arguments["bias"], arguments["shift"] = _vector(bias), _vector(shift)
    arguments["sources"] = len(sources)
    arguments["batch"], arguments["samples"] = x.shape[0], tile.samples
    arguments["outputs"], arguments["all_outputs"] = outputs, out.shape[1]
    arguments["out_activation"] = ACTIVATIONS.index(s.out_activation)
    arguments["output_blocks"] = s.groups * -(-outputs // tile.outputs)
    arguments["slope"], arguments["scale"] = s.negative_slope, s.scale
    parts = [tile.parts(x.dtype) * math.prod(tile.count(*phase)) for phase in phases]
    moments = None if stats_out is None else room_for_parts(sum(parts), x.shape[0] * out.shape[1], x.device)
    if moments is not None:
        arguments["moments"], arguments["parts"] = moments.data_ptr(), sum(parts)
    for number, phase in enumerate(phases):
        read = [phase, *([projection_axes(*phase)] if len(sources) > 1 else [])]
        for i, axes in enumerate(read):
            sources[i]["rows"], sources[i]["columns"] = (
                _axis(axis, of_tile, size, upsample)
                for axis, of_tile, size, upsample in zip(
                    axes,
                    (tile.rows, tile.columns),
                    (x if i == 0 else out).shape[2:],
                    s.upsample if i == 0 else (1, 1),
                    strict=True,
                )
            )
            sources[i]["ring"] = ring(axes[0].taps * axes[1].taps)
            arguments["source"][i] = sources[i]
        tiles = tile.count(*phase)
        arguments["first_part"] = sum(parts[:number])
        for name, axis, of_tile, count in zip(
            ("rows", "columns"), phase, (tile.rows, tile.columns), tiles, strict=True
        ):
            arguments[name] = (axis.made, of_tile, count, axis.phase, axis.phase_step)
        blocks = tiles[0] * tiles[1] * -(-x.shape[0] // tile.samples) * int(arguments["output_blocks"])
        launch(kernel, blocks, arguments, x.device, tile.threads(x.dtype), shared_bytes(tile, read))
    if stats_out is not None and moments is not None:
        fold_moments(stats_out, moments)


def read_weights(weight: Tensor, dtype: torch.dtype, groups: int, inputs_first: bool) -> Tensor:
    """(groups, outputs, height, width, inputs) in `dtype`, the last of 16-byte multiples; (C, K/groups, ...) turned."""
    weight = weight.unsqueeze(2) if weight.ndim == 3 else weight
    first = weight.shape[0] // groups
    grouped = weight.unflatten(0, (groups, first))
    grouped = grouped.permute(0, 2, 3, 4, 1) if inputs_first else grouped.permute(0, 1, 3, 4, 2)
    each = 16 // dtype.itemsize
    padded = F.pad(grouped, (0, -grouped.shape[-1] % each)) if grouped.shape[-1] % each else grouped
    read = padded.to(dtype)
    aligned = read.data_ptr() % 16 == 0 and all(stride % each == 0 for stride in read.stride()[:-1])
    return read if read.stride(-1) == 1 and aligned else read.contiguous()


def _source(x: Tensor, skip: Tensor | None, weights: Tensor, table: Tensor | None, s: Settings) -> Any:
    source = np.zeros((), _SOURCE)
    channels = x.shape[1] + (0 if skip is None else skip.shape[1])
    source["x"], source["skip"] = _image(x), _image(skip)
    source["weights"] = (weights.data_ptr(), *weights.stride()[:-1])
    source["norm"] = 0 if table is None else table.data_ptr()
    source["activation"] = ACTIVATIONS.index(s.activation)
    source["x_channels"], source["channels"] = x.shape[1], channels
    source["inputs"], source["group_channels"] = channels // s.groups, channels // s.groups
    source["mode"] = PADDING_MODES.index(s.padding_mode)
    return source


def _axis(axis: Axis, tile: int, size: int, upsample: int) -> tuple[int, ...]:
    halo = halo_of(axis, tile)
    return (
        size, upsample, halo.step, halo.low, halo.spacing, halo.pixels, halo.stride, axis.taps, halo.tap_first,
        halo.tap_step, axis.first, axis.tap_step,
    )  # fmt: skip


def _image(tensor: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0, 0, 0) if tensor is None else (tensor.data_ptr(), *tensor.stride())


def _vector(tensor: Tensor | None) -> tuple[int, int, int]:
    if tensor is None:
        return 0, 0, 0
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        raise ValueError(
            f"a parameter has strides {tensor.stride()}, expected its channels beside each other"
        )
    return tensor.data_ptr(), int(tensor.dtype == torch.float32), tensor.stride(0) if tensor.ndim == 2 else 0


def _is_chunked(images: Sequence[Tensor | None], *counts: int) -> bool:
    """Whether all images, and groups of `counts` channels, can be read and written 16 bytes at a time."""
    given = [image for image in images if image is not None]
    each = 16 // given[0].element_size()
    if any(count % each for count in (*counts, *(image.shape[1] for image in given))):
        return False
    return all(image.data_ptr() % 16 == 0 and _in_chunks(image, each) for image in given)


def _in_chunks(image: Tensor, each: int) -> bool:
    apart = [0 if size == 1 else stride for size, stride in zip(image.shape, image.stride(), strict=True)]
    return apart[1] == 1 and not any(stride % each for stride in (apart[0], apart[2], apart[3]))
