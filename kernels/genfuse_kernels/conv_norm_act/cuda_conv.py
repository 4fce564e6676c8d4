"""The convolution in CUDA, a launch a phase: csrc/conv_norm_act/cuda.cu."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse_kernels.common import planes
from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_launch import launch
from genfuse_kernels.common.cuda_moments import fold_moments, room_for_parts
from genfuse_kernels.common.cuda_walk import Order
from genfuse_kernels.conv_norm_act.axes import Axis
from genfuse_kernels.conv_norm_act.cuda_arguments import (
    ARGUMENTS,
    READ,
    Read,
    dense,
    image,
    projection,
    read_field,
    read_weights,
    set_axes,
    set_made,
    set_segments,
    source,
    vector,
)
from genfuse_kernels.conv_norm_act.cuda_plan import (
    WAYS,
    Way,
    are_apart,
    precision_of,
    projection_axes,
    shared_bytes,
    tile_and_segments,
    totals_at,
)
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, Pair, Settings

GRADIENT_ARGUMENTS = np.dtype([("of", ARGUMENTS), ("read", READ)])
"""The kernel's `DataGradientArguments`."""


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
    way: Way = WAYS[""],
) -> None:
    """Fill `out` and `stats_out`; of `s` what is not geometry, without pooling. Any strides.

    table         (N, C, 4) of x and skip, by `cuda_norm`; `s.activation` follows it
    inputs_first  weight is (C, K/groups, height, width), else (K, C/groups, height, width)

    ValueError where what a block reads does not fit shared memory, as `cuda_plan.limit` says beforehand.
    """
    weights = read_weights(weight, x.dtype, s.groups, inputs_first)
    bias, shift = dense(bias), dense(shift)
    sources = [source(x, skip, weights, table, s)]
    if residual is not None and residual_weight is not None:
        of_projection = read_weights(residual_weight, x.dtype, 1, False)
        outputs = out.shape[1] // s.groups
        sources.append(projection(residual, residual_skip, of_projection, outputs))
    images = [given for given in (out, x, skip, residual, residual_skip) if given is not None]
    inputs = (x.shape[1] + (0 if skip is None else skip.shape[1])) // s.groups
    plan = _Plan(out, x, images, inputs, s, axes, len(sources) == 2, way)
    arguments = plan.arguments(out, s)
    arguments["residual"] = image(None if len(sources) == 2 else residual)
    arguments["bias"], arguments["shift"] = vector(bias), vector(shift)
    arguments["scale"], arguments["out_activation"] = s.scale, ACTIVATIONS.index(s.out_activation)
    parts = [plan.tile.parts(x.dtype) * tiles for tiles in plan.tiles]
    moments = None if stats_out is None else room_for_parts(sum(parts), x.shape[0] * out.shape[1], x.device)
    if moments is not None:
        arguments["moments"], arguments["parts"] = moments.data_ptr(), sum(parts)
    for number in range(len(plan.phases)):
        arguments["first_part"] = sum(parts[:number])
        plan.set_phase(arguments, number, sources, s.upsample)
        plan.launch("", arguments, arguments, number)
    if stats_out is not None and moments is not None:
        fold_moments(stats_out, moments)


def convolve_back(
    out: Tensor,
    gradient: Tensor,
    weight: Tensor,
    s: Settings,
    axes: tuple[list[Axis], list[Axis]],
    read: Read,
    *,
    inputs_first: bool,
) -> Tensor | None:
    """Fill `out` with the gradient of what a unit read, a convolution of `gradient`; its sums (2, parts, N, C) or None.

    ValueError as of `convolve`.
    """
    weights = read_weights(weight, gradient.dtype, s.groups, inputs_first)
    images = [given for given in (out, gradient, read.x, read.skip) if given is not None]
    inputs = gradient.shape[1] // s.groups
    plan = _Plan(out, gradient, images, inputs, s, axes, False, WAYS[""])
    arguments = np.zeros((), GRADIENT_ARGUMENTS)
    arguments["of"] = plan.arguments(out, s)
    shape = (2, sum(plan.tiles), *out.shape[:2])
    sums = torch.empty(shape, dtype=torch.float64, device=out.device) if read.summed else None
    arguments["read"] = read_field(read, sums)
    for number in range(len(plan.phases)):
        arguments["read"]["first_part"] = sum(plan.tiles[:number])
        plan.set_phase(arguments["of"], number, [source(gradient, None, weights, None, s)], (1, 1))
        plan.launch("data_gradient", arguments, arguments["of"], number)
    return sums


class _Plan:
    """The launches of a convolution of x, one a phase.

    images, inputs   all that is read and written, and the channels of a group that meet weights
    tiles            of a sample, in each phase
    segments         of each sum
    """

    def __init__(
        self,
        out: Tensor,
        x: Tensor,
        images: Sequence[Tensor],
        inputs: int,
        s: Settings,
        axes: tuple[list[Axis], list[Axis]],
        projects: bool,
        way: Way,
    ) -> None:
        self.phases = [(rows, columns) for rows in axes[0] for columns in axes[1]]
        self._x, self._out, self._projects = x, out, projects
        outputs = out.shape[1] // s.groups
        options = {"projects": projects, "way": way}
        fitting = tile_and_segments(self.phases, s.groups, outputs, inputs, x.dtype, **options)  # type: ignore[arg-type]
        if fitting is None:
            raise ValueError("what the convolution reads of a block does not fit shared memory")
        self.tile, self.segments = tile, _ = fitting
        self.tiles = [math.prod(tile.tiles(*phase)) for phase in self.phases]
        self._groups, self._outputs = s.groups, outputs
        self._order: Order = "channels_last" if are_chunked(images, outputs, inputs) else "planes"
        self._wide = any(planes.reach(given) >= planes.INT32_LIMIT for given in images)
        self._macros = tile.macros(precision_of(x.dtype, s.accuracy))

    def arguments(self, out: Tensor, s: Settings) -> NDArray[np.void]:
        """`ARGUMENTS` without what reads and what belongs to a phase."""
        found = np.zeros((), ARGUMENTS)
        found["out"] = image(out)
        found["batch"], found["samples"] = out.shape[0], self.tile.samples
        found["outputs"], found["all_outputs"] = out.shape[1] // s.groups, out.shape[1]
        found["output_blocks"] = self._groups * -(-self._outputs // self.tile.outputs)
        found["segments"] = self.segments
        found["slope"], found["scale"] = s.negative_slope, 1.0
        return found

    def set_phase(self, arguments: Any, number: int, sources: Sequence[Any], upsample: Pair) -> None:
        """Where the sources are read in a phase, and what it makes."""
        arguments["sources"] = len(sources)
        sizes = self._x.shape[2:], self._out.shape[2:]
        for i, axes in enumerate(self._read(number)):
            set_axes(sources[i], axes, self.tile, sizes[i], (upsample, (1, 1))[i])
            set_segments(sources[i], self._x.dtype, self.segments)
            arguments["source"][i] = sources[i]
        set_made(arguments, self.phases[number], self.tile)

    def launch(self, part: str, arguments: NDArray[np.void], of: Any, number: int) -> None:
        """One phase's; `of`: the `ARGUMENTS` among the kernel's."""
        x, tile, read = self._x, self.tile, self._read(number)
        kernel = Kernel("conv_norm_act", x.dtype, self._order, self._wide, part, self._macros)
        blocks = tile.blocks(self.phases[number], x.shape[0], self._groups, self._outputs)
        apart = are_apart(self.segments, blocks)
        shared = shared_bytes(tile, read, x.dtype, totals=self.segments > 1 and not apart)
        of["blocks"], of["totals"], of["folds"], of["partial"] = blocks, totals_at(tile, read), 0, 0
        if apart:
            shape = (self.segments, blocks, tile.sums)
            partial = torch.empty(shape, dtype=torch.float32, device=x.device)
            of["partial"] = partial.data_ptr()
            launch(kernel, self.segments * blocks, arguments, x.device, tile.threads(x.dtype), shared)
            of["folds"] = 1
        launch(kernel, blocks, arguments, x.device, tile.threads(x.dtype), shared)

    def _read(self, number: int) -> list[tuple[Axis, Axis]]:
        phase = self.phases[number]
        return [phase, projection_axes(*phase)] if self._projects else [phase]


def are_chunked(images: Sequence[Tensor], *counts: int) -> bool:
    """Whether all images, and groups of `counts` channels, can be read and written 16 bytes at a time."""
    each = 16 // images[0].element_size()
    if any(count % each for count in (*counts, *(image.shape[1] for image in images))):
        return False
    return all(image.data_ptr() % 16 == 0 and _is_chunked(image, each) for image in images)


def _is_chunked(image: Tensor, each: int) -> bool:
    apart = [0 if size == 1 else stride for size, stride in zip(image.shape, image.stride(), strict=True)]
    return apart[1] == 1 and not any(stride % each for stride in (apart[0], apart[2], apart[3]))
