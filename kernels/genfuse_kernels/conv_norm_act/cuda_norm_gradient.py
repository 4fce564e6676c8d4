"""The gradient of what a unit does before its convolution, in CUDA; `norm_gradient` has the mathematics.

Kept of the forward are x and its statistics: csrc/conv_norm_act/cuda_gradient.h computes the rest again. Where the
gradient goes through statistics over space, one pass sums and one writes; with constant statistics one does both, and
of a norm per pixel it follows the one that sums over channels.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_launch import launch
from genfuse_kernels.common.cuda_tile import COLUMNS, THREADS, TILE, columns, tile
from genfuse_kernels.common.cuda_walk import OPERAND, operand_field
from genfuse_kernels.common.planes import as_planes
from genfuse_kernels.conv_norm_act.cuda_dropout import DROPOUT, dropout_field
from genfuse_kernels.conv_norm_act.cuda_norm import TABLE_FIELD, norm_table, table_field
from genfuse_kernels.conv_norm_act.dropout import Dropout
from genfuse_kernels.conv_norm_act.norm_sums import gradients_of, has_constant_stats, of_channels
from genfuse_kernels.conv_norm_act.norm_table import Table
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, Settings, UnitTensors

ARGUMENTS = np.dtype(
    [
        ("sums", "u8"),
        ("samples", "i8"),
        *((name, OPERAND) for name in ("out", "gradient", "x")),
        ("table", TABLE_FIELD),
        ("means", "u8"),
        ("dropout", DROPOUT),
        ("slope", "f8"),
        ("activation", "i8"),
        ("rms", "i8"),
        ("tile", TILE),
    ]
)
"""The kernels' `GradientArguments`."""

PIXEL_ARGUMENTS = np.dtype(
    [
        ("means", "u8"),
        *((name, OPERAND) for name in ("x", "gradient", "skip", "skip_gradient")),
        ("channels", "i8"),
        ("skip_channels", "i8"),
        ("table", TABLE_FIELD),
        ("dropout", DROPOUT),
        ("slope", "f8"),
        ("activation", "i8"),
        ("columns", COLUMNS),
    ]
)
"""The kernel's `PixelSumsArguments`."""


def _found(
    gradient: Tensor,
    x: Tensor,
    settings: Settings,
    tensors: UnitTensors,
    through_stats: bool,
    wanted: Collection[str],
) -> dict[str, Tensor]:
    skip = tensors.get("skip")
    backward = Passes(gradient, x, skip, settings, tensors, norm_table(x, skip, settings, tensors))
    positions, of_pixel = x.shape[2] * x.shape[3], backward.table.pixels is not None
    images = [name for name in ("x", "skip") if name in wanted]
    sums_needed = len(images) < len(wanted)
    means: Tensor | None = None
    found: dict[str, Tensor] = {}
    constant = has_constant_stats(settings, tensors, through_stats)
    if constant or of_pixel:
        means = backward.pixel_means() if of_pixel and images else None
        sums = backward.run(found, images, means, sums_needed)
        if sums is not None:
            of_parameters, _ = of_channels(sums, positions, settings, backward.table, tensors, wanted)
            found |= of_parameters
    else:
        sums = backward.run({}, [], None, True)
        if sums is not None:
            found, means = of_channels(sums, positions, settings, backward.table, tensors, wanted)
        if images:
            backward.run(found, images, means, False)
    return found


class Passes:
    """What the passes of one call have in common."""

    def __init__(
        self,
        gradient: Tensor,
        x: Tensor,
        skip: Tensor | None,
        s: Settings,
        tensors: UnitTensors,
        table: Table,
    ) -> None:
        self.settings, self.table = s, table
        self._gradient = as_planes(gradient)
        self._parts: dict[str, tuple[int, Tensor]] = {"x": (0, as_planes(x))}
        if skip is not None:
            self._parts["skip"] = (x.shape[1], as_planes(skip))
        self._dropout = Dropout.of(s, tensors.get("seeds"))

    def run(
        self, found: dict[str, Tensor], images: Collection[str], means: Tensor | None, sums_needed: bool
    ) -> Tensor | None:
        """Fill `found` with the gradients of `images`; the sums (2, N, C) where they are needed."""
        sums = []
        for name, (first, part) in self._parts.items():
            out = torch.empty_like(part) if name in images else None
            if out is not None:
                found[name] = out
            if sums_needed or out is not None:
                sums.append(self._pass(out, part, first, means, sums_needed))
        return (
            torch.cat([of_part.sum(1) for of_part in sums if of_part is not None], 2) if sums_needed else None
        )

    def _pass(
        self, out: Tensor | None, part: Tensor, first: int, means: Tensor | None, sums_needed: bool
    ) -> Tensor | None:
        batch, channels = part.shape[:2]
        gradient = self._gradient[:, first : first + channels]
        plan = tile([part, gradient, out], channels, part.shape[2] * part.shape[3])
        shape = (2, plan.splits, batch, channels)
        sums = torch.empty(shape, dtype=torch.float64, device=part.device) if sums_needed else None
        s = self.settings
        arguments = np.array(
            (
                0 if sums is None else sums.data_ptr(),
                batch,
                *map(operand_field, (out, gradient, part)),
                table_field(self.table, self._gradient.shape[1], first),
                0 if means is None else means.data_ptr(),
                dropout_field(self._dropout),
                s.negative_slope,
                ACTIVATIONS.index(s.activation),
                int(s.norm == "rms_pixel"),
                plan.sizes,
            ),
            dtype=ARGUMENTS,
        )
        which = "read_gradient" if sums is None else "gradient_sums" if out is None else "summed_gradient"
        kernel = Kernel("conv_norm_act", part.dtype, plan.order, plan.wide, which)
        launch(kernel, plan.blocks, arguments, part.device, THREADS)
        return sums

    def pixel_means(self) -> Tensor:
        """Σa·g and Σa·g·x̂ of each pixel over its channels, over their number: (N, H·W, 2) float32."""
        s, x = self.settings, self._parts["x"][1]
        batch, positions = x.shape[0], x.shape[2] * x.shape[3]
        groups = [
            (part, self._gradient[:, first : first + part.shape[1]]) for first, part in self._parts.values()
        ]
        images = [image for group in groups for image in group]
        plan = columns(images, positions)
        means = torch.empty((batch, positions, 2), dtype=torch.float32, device=x.device)
        arguments = np.array(
            (
                means.data_ptr(),
                *map(operand_field, [*images, None, None][:4]),
                x.shape[1],
                self._gradient.shape[1] - x.shape[1],
                table_field(self.table, self._gradient.shape[1], 0),
                dropout_field(self._dropout),
                s.negative_slope,
                ACTIVATIONS.index(s.activation),
                plan.sizes,
            ),
            dtype=PIXEL_ARGUMENTS,
        )
        kernel = Kernel("conv_norm_act", x.dtype, plan.order, plan.wide, "pixel_sums")
        launch(kernel, plan.blocks, arguments, x.device, THREADS)
        return means


read_gradient = partial(gradients_of, _found)
