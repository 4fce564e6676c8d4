"""What the CUDA convolution is told: csrc/conv_norm_act/cuda_arguments.h, field by field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels.conv_norm_act.axes import Axis
from genfuse_kernels.conv_norm_act.cuda_plan import Tile, halo_of, in_chunks, ring
from genfuse_kernels.conv_norm_act.cuda_weight_plan import WeightTile
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, PADDING_MODES, Activation, Pair, Settings


class Read(NamedTuple):
    """What a unit read, where the gradient of it is written.

    table   (N, C, 4) of x and skip, by `cuda_norm`
    summed  whether Σg and Σg·x̂ of each channel are wanted
    ends    whether what is written is the gradient of x and skip, of constant statistics; else it is that of what
            the convolution read
    """

    x: Tensor
    skip: Tensor | None
    table: Tensor | None
    activation: Activation
    summed: bool
    ends: bool


def _struct(*fields: str) -> np.dtype[Any]:
    return np.dtype([(name, "i8") for name in fields])


_IMAGE = _struct("data", "batch", "channel", "row", "column")
_AXIS = _struct(
    "size", "upsample", "step", "low", "spacing", "halo", "beside", "spread", "stride", "taps", "tap_first", "tap_step",
    "weight_first", "weight_step",
)  # fmt: skip
_SOURCE = np.dtype(
    [
        ("x", _IMAGE),
        ("skip", _IMAGE),
        ("weights", _struct("data", "group", "output", "row", "column")),
        *((name, "i8") for name in ("norm", "activation", "x_channels", "channels", "inputs")),
        *((name, "i8") for name in ("group_channels", "mode", "ring", "span")),
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
        *((name, "i8") for name in ("out_activation", "output_blocks", "blocks")),
        *((name, "i8") for name in ("segments", "totals", "partial", "folds")),
        ("slope", "f8"),
        ("scale", "f8"),
    ]
)
"""The kernels' `ConvArguments`."""

READ = np.dtype(
    [
        ("x", _IMAGE),
        ("skip", _IMAGE),
        *((name, "i8") for name in ("norm", "sums", "parts", "first_part", "x_channels")),
        *((name, "i8") for name in ("activation", "ends")),
    ]
)
"""The kernel's `ConvRead`."""


def read_weights(weight: Tensor, dtype: torch.dtype, groups: int, inputs_first: bool) -> Tensor:
    """(groups, outputs, height, width, inputs) in `dtype`, the last of 16-byte multiples; (C, K/groups, ...) turned."""
    weight = weight.unsqueeze(2) if weight.ndim == 3 else weight
    first = weight.shape[0] // groups
    grouped = weight.reshape(groups, first, *weight.shape[1:])
    grouped = grouped.permute(0, 2, 3, 4, 1) if inputs_first else grouped.permute(0, 1, 3, 4, 2)
    each = 16 // dtype.itemsize
    padded = F.pad(grouped, (0, -grouped.shape[-1] % each)) if grouped.shape[-1] % each else grouped
    read = padded.to(dtype)
    aligned = read.data_ptr() % 16 == 0 and all(stride % each == 0 for stride in read.stride()[:-1])
    return read if read.stride(-1) == 1 and aligned else read.contiguous()


def dense(vector: Tensor | None) -> Tensor | None:
    """(K,) or (N, K) as the kernel reads it, 16 bytes at a time; a copy where it lies otherwise."""
    if vector is None or (vector.is_contiguous() and vector.data_ptr() % 16 == 0):
        return vector
    return vector.clone(memory_format=torch.contiguous_format)


def image(tensor: Tensor | None) -> tuple[int, ...]:
    """`tensor` (N, C, H, W) as the kernel's `ConvImage`."""
    return (0, 0, 0, 0, 0) if tensor is None else (tensor.data_ptr(), *tensor.stride())


def vector(tensor: Tensor | None) -> tuple[int, int, int]:
    """`tensor` (K,) or (N, K), dense, as the kernel's `ConvVector`."""
    if tensor is None:
        return 0, 0, 0
    return tensor.data_ptr(), int(tensor.dtype == torch.float32), tensor.stride(0) if tensor.ndim == 2 else 0


def source(x: Tensor, skip: Tensor | None, weights: Tensor | None, table: Tensor | None, s: Settings) -> Any:
    """A `ConvSource` without its axes: x and skip as a group's `weights` of `read_weights` meet them, if these do."""
    found = np.zeros((), _SOURCE)
    channels = x.shape[1] + (0 if skip is None else skip.shape[1])
    found["x"], found["skip"] = image(x), image(skip)
    if weights is not None:
        found["weights"] = (weights.data_ptr(), *weights.stride()[:-1])
    found["norm"] = 0 if table is None else table.data_ptr()
    found["activation"] = ACTIVATIONS.index(s.activation)
    found["x_channels"], found["channels"] = x.shape[1], channels
    found["inputs"], found["group_channels"] = channels // s.groups, channels // s.groups
    found["mode"] = PADDING_MODES.index(s.padding_mode)
    return found


def projection(x: Tensor, skip: Tensor | None, weights: Tensor, outputs: int) -> Any:
    """The source that every group of `outputs` reads all channels of, as they are."""
    found = source(x, skip, weights, None, Settings())
    found["group_channels"] = 0
    found["weights"]["group"] = outputs * weights.stride(1)
    return found


def set_segments(of: Any, dtype: torch.dtype, segments: int) -> None:
    """The share of a source's inputs that each of `segments` sums."""
    of["span"] = -(-in_chunks(int(of["inputs"]), dtype) // segments)


def set_axes(
    of: Any, axes: tuple[Axis, Axis], tile: Tile | WeightTile, size: Sequence[int], upsample: Pair
) -> None:
    """Where a source is read in one launch; `size` of its images."""
    of["ring"] = ring(axes[0].taps * axes[1].taps)
    for i, (name, exponent) in enumerate((("rows", tile.rows), ("columns", tile.columns))):
        axis, halo = axes[i], halo_of(axes[i], exponent)
        of[name] = (
            size[i], upsample[i], halo.step, halo.low, halo.spacing, halo.pixels, halo.beside, halo.spread,
            halo.stride, axis.taps, halo.tap_first, halo.tap_step, axis.first, axis.tap_step,
        )  # fmt: skip


def set_made(of: Any, axes: tuple[Axis, Axis], tile: Tile) -> None:
    """What one launch makes."""
    count = tile.tiles(*axes)
    for i, (name, exponent) in enumerate((("rows", tile.rows), ("columns", tile.columns))):
        of[name] = (axes[i].made, exponent, count[i], axes[i].phase, axes[i].phase_step)


def read_field(read: Read, sums: Tensor | None) -> Any:
    """A `ConvRead` of the first part; sums (2, parts, N, C)."""
    found = np.zeros((), READ)
    found["x"], found["skip"] = image(read.x), image(read.skip)
    found["norm"] = 0 if read.table is None else read.table.data_ptr()
    if sums is not None:
        found["sums"], found["parts"] = sums.data_ptr(), sums.shape[1]
    found["x_channels"], found["activation"] = read.x.shape[1], ACTIVATIONS.index(read.activation)
    found["ends"] = read.ends
    return found
