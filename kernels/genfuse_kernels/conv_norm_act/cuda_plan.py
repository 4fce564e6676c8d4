"""How the CUDA convolution shares a picture among blocks, and what of it lies in shared memory.

A block makes a rectangle of pixels, of several samples where a picture is small, for some output channels. What all of
a channel chunk's taps read is a rectangle too, its *halo*, in shared memory; along an axis it keeps each `spacing`-th
pixel, the common divisor of stride and tap distance. By shapes and dtype alone, so that a sample's bits are its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from genfuse_kernels.conv_norm_act.axes import Axis, axes_of, forward_axis, transposed_axes
from genfuse_kernels.conv_norm_act.settings import Accuracy, Pair, Settings, kernel_size

CHUNK_BYTES = 64
"""Of a pixel's channels, or a tap's weights of an output, that are in shared memory at once."""

STAGES = 3
"""Steps whose weights are in shared memory: csrc/conv_norm_act/cuda_tile.h."""

MOST_SHARED = 96 * 1024
"""Bytes of a block, which every device of compute capability 8.0 and higher has."""

BUSY = 128
"""Blocks that keep a device busy, whichever it is; an H100 has 132 multiprocessors, an A100 108."""

SMALL = 16 * 16
"""Pixels of a picture whose sums have segments. With more, a block that keeps their totals would have to make fewer
pixels, and read weights more often in a batch, than it does without."""

SEGMENTED_PIXELS = 64
"""Of a block that has room for totals, and is compiled for them: csrc/conv_norm_act/cuda_tile.h."""

MOST_SEGMENTS = 8
"""Of a sum: what a pixel's sums are written and read again costs no more than reading its inputs, mostly."""

LEAST_STEPS = 16
"""Of a segment: the first copies take as long as a few steps."""

LEAST_CHANNELS = 16
"""Of a group: fewer leave most of a product's factors zeros."""

_HALO_PIXEL = 8  # bytes of where a halo's pixel comes from


class Tile(NamedTuple):
    """A block: pixels and output channels, the former as samples of 2^rows x 2^columns."""

    pixels: int
    outputs: int
    rows: int
    columns: int
    samples: int

    def threads(self, dtype: torch.dtype) -> int:
        """A warp makes 64 pixels of 32 outputs, 32 in float32."""
        return self.pixels // (64 if dtype.itemsize < 4 else 32) * (self.outputs // 32) * 32

    def macros(self, precision: str) -> tuple[tuple[str, int | str], ...]:
        """What the kernel is compiled for."""
        return ("PIXELS", self.pixels), ("OUTPUTS", self.outputs), ("PRECISION", precision)

    def parts(self, dtype: torch.dtype) -> int:
        """Of a sample's pixels in a block, whose moments it stores: a thread an output and share of the pixels."""
        share = self.pixels * self.outputs // self.threads(dtype)
        return max(1, (1 << self.rows + self.columns) // share)

    @property
    def sums(self) -> int:
        """How many it has."""
        return self.pixels * self.outputs

    def blocks(self, phase: tuple[Axis, Axis], batch: int, groups: int, outputs: int) -> int:
        """Of one launch, whose segments' sums are one block's."""
        return (
            math.prod(self.tiles(*phase)) * -(-batch // self.samples) * groups * -(-outputs // self.outputs)
        )

    def tiles(self, rows: Axis, columns: Axis) -> Pair:
        """Tiles of one launch, along either axis."""
        return -(-rows.made >> self.rows), -(-columns.made >> self.columns)


class Way(NamedTuple):
    """How a block differs from the one by rule: at most so many pixels and outputs, and sums without segments."""

    pixels: int = 128
    outputs: int = 128
    whole: int = 0


WAYS = {
    "": Way(),
    "64 pixels": Way(pixels=64),
    "64 outputs": Way(outputs=64),
    "64 pixels by 64 outputs": Way(64, 64),
    "whole sums": Way(whole=1),
    "whole sums of 64 pixels": Way(pixels=64, whole=1),
}
"""What is measured where results need not be reproducible: blocks that other shapes have by rule, so that a kernel of
each is there anyway."""


class Halo(NamedTuple):
    """One axis of the pixels that a block reads."""

    step: int
    low: int
    spacing: int
    pixels: int
    stride: int
    tap_first: int
    tap_step: int

    @property
    def spread(self) -> int:
        """Pixels 2^spread apart lie beside each other in a row of shared memory; the stride is an odd multiple."""
        return (self.stride & -self.stride).bit_length() - 1

    @property
    def beside(self) -> int:
        """How many such pixels there are."""
        return -(-self.pixels >> self.spread)

    @property
    def width(self) -> int:
        """Pixels that a row of shared memory has room for."""
        return self.beside << self.spread


def tile_for(made: Pair, outputs: int, dtype: torch.dtype, way: Way = WAYS[""]) -> Tile:
    """For pictures of `made` pixels and a group's outputs."""
    if dtype == torch.float32:
        pixels, columns = 64, 64
    else:
        pixels, columns = (
            (128 if min(made[0] * made[1], way.pixels) > 64 else 64),
            (128 if min(outputs, way.outputs) > 64 else 64),
        )
    rows, of_columns, together = rectangle(made, pixels)
    return Tile(pixels, columns, rows, of_columns, together)


def rectangle(made: Pair, pixels: int) -> tuple[int, int, int]:
    """Rows and columns of a block's tile, as exponents of 2, and samples that share it."""
    height, width = (max(0, math.ceil(math.log2(max(size, 1)))) for size in made)
    room = pixels.bit_length() - 1
    rows = min(height, 3)
    columns = min(width, room - rows)
    rows = min(height, room - columns)
    return rows, columns, 1 << room - rows - columns


def are_apart(segments: int, blocks: int) -> bool:
    """Whether the segments of a launch's sums have blocks of their own, which changes no bit."""
    return segments > 1 and blocks < BUSY


def halo_of(axis: Axis, tile: int) -> Halo:
    """What blocks of 2^tile pixels read along this axis."""
    step = axis.step if axis.taps > 1 else axis.stride
    spacing = math.gcd(axis.stride, step)
    reach = step * max(axis.taps - 1, 0)
    low = axis.start + min(reach, 0)
    stride = axis.stride // spacing
    pixels = ((1 << tile) - 1) * stride + abs(reach) // spacing + 1
    return Halo(
        axis.stride << tile, low, spacing, pixels, stride, (axis.start - low) // spacing, step // spacing
    )


def ring(taps: int) -> int:
    """Halos that are in shared memory: those of all steps whose weights are."""
    return 1 + -(-(STAGES - 1) // max(taps, 1))


def totals_at(tile: Tile, sources: Sequence[tuple[Axis, Axis]]) -> int:
    """Where the totals of segments begin, a multiple of 16: behind what is staged, and what the sums take later."""
    return -(-max(_staged_bytes(tile, sources), _sums_bytes(tile)) // 16) * 16


def shared_bytes(
    tile: Tile, sources: Sequence[tuple[Axis, Axis]], dtype: torch.dtype, *, totals: bool
) -> int:
    """Of a block that reads these: what is staged and, with `totals`, those of segments; later the sums instead.

    Behind the sums, where several samples have some, is room for what threads add of a data gradient's.
    """
    if totals:
        return totals_at(tile, sources) + tile.sums * 4
    room = tile.threads(dtype) * 16 // dtype.itemsize * 8 if tile.samples > 1 else 0
    return max(_staged_bytes(tile, sources), _sums_bytes(tile) + room)


def _staged_bytes(tile: Tile, sources: Sequence[tuple[Axis, Axis]]) -> int:
    """Of weights, halos and where their pixels come from."""
    most = 0
    for rows, columns in sources:
        pixels = halo_of(rows, tile.rows).pixels * halo_of(columns, tile.columns).width
        halos = ring(rows.taps * columns.taps) * tile.samples * pixels * CHUNK_BYTES
        most = max(most, STAGES * tile.outputs * CHUNK_BYTES + halos + pixels * _HALO_PIXEL)
    return most


def _sums_bytes(tile: Tile) -> int:
    """Of a block's sums, in rows of a pixel."""
    return tile.pixels * (tile.outputs + 8) * 4


def in_chunks(inputs: int, dtype: torch.dtype) -> int:
    """Chunks of a pixel's channels of a group."""
    return -(-inputs * dtype.itemsize // CHUNK_BYTES)


def tile_and_segments(
    phases: Sequence[tuple[Axis, Axis]],
    groups: int,
    outputs: int,
    inputs: int,
    dtype: torch.dtype,
    *,
    projects: bool,
    way: Way = WAYS[""],
) -> tuple[Tile, int] | None:
    """A block of all phases' launches, and the segments of its sums; None where nothing fits shared memory."""
    for segments in (1 if way.whole else segments_of(phases, groups, outputs, inputs, dtype), 1):
        tile = fitting_tile(phases, outputs, dtype, projects=projects, segmented=segments > 1, way=way)
        if tile is not None:
            return tile, segments
    return None


def segments_of(
    phases: Sequence[tuple[Axis, Axis]], groups: int, outputs: int, inputs: int, dtype: torch.dtype
) -> int:
    """Of each sum: several where one picture's blocks are too few for a device, and the sums long enough."""
    made = max(rows.made for rows, _ in phases), max(columns.made for _, columns in phases)
    if made[0] * made[1] > SMALL:
        return 1
    tile = tile_for(made, outputs, dtype, Way(pixels=SEGMENTED_PIXELS))
    blocks = sum(tile.blocks(phase, 1, groups, outputs) for phase in phases)
    chunks = in_chunks(inputs, dtype)
    steps = chunks * max(rows.taps * columns.taps for rows, columns in phases)
    wanted = max(1, min(MOST_SEGMENTS, BUSY // max(blocks, 1), steps // LEAST_STEPS, chunks))
    return -(-chunks // -(-chunks // wanted))


def projection_axes(rows: Axis, columns: Axis) -> tuple[Axis, Axis]:
    """Where the 1x1 convolution of a residual reads: at the pixels that are made."""
    return _alone(rows), _alone(columns)


def _alone(axis: Axis) -> Axis:
    return axis._replace(stride=axis.phase_step, start=axis.phase, taps=1, step=1, first=0)


def folds_upsampling(s: Settings) -> bool:
    """Whether the data gradient of a convolution sums what upsampling repeated by the weights that it reads with."""
    return s.upsample == (1, 1) or (s.stride, s.dilation, s.padding_mode) == ((1, 1), (1, 1), "zeros")


def axes_back(s: Settings, kernel: Pair, size: Pair) -> tuple[tuple[list[Axis], list[Axis]], Pair]:
    """The phases of each axis of the data gradient's convolution, and the pixels that it makes.

    These are the `size` pixels that the unit reads; with a border that is no zeros, those and the border; where
    upsampling is not folded, upsampled.
    """
    folds, found, whole = folds_upsampling(s), [], []
    for i in (0, 1):
        padding, pixels = s.padding[i], size[i] * (1 if folds else s.upsample[i])
        if s.padding_mode != "zeros":
            pixels, padding = pixels + 2 * padding + s.extra_padding[i], 0
        if s.transposed:
            axes = forward_axis(pixels, s.stride[i], padding, kernel[i], s.dilation[i])
        elif folds and s.upsample[i] == 2:
            # pixel p is read as 2p and 2p + 1: with tap r of the k + 1 summed ones the gradient's 2p + 1 + padding − r
            axes = [Axis(pixels, 2, padding + 1, kernel[i] + 1, -1, 0, 1, 0, 1)]
        else:
            axes = transposed_axes(pixels, s.stride[i], padding, kernel[i], s.dilation[i])
        found.append(axes)
        whole.append(pixels)
    return (found[0], found[1]), (whole[0], whole[1])


def fitting_tile(
    phases: Sequence[tuple[Axis, Axis]],
    outputs: int,
    dtype: torch.dtype,
    *,
    projects: bool,
    segmented: bool,
    way: Way = WAYS[""],
) -> Tile | None:
    """The tile of all phases' launches: the largest whose halo fits shared memory; None where there is none.

    projects, segmented    whether it reads a residual's pixels too, and keeps totals of segments
    """
    made = max(rows.made for rows, _ in phases), max(columns.made for _, columns in phases)
    read = [[phase, *([projection_axes(*phase)] if projects else [])] for phase in phases]
    for most in (SEGMENTED_PIXELS,) if segmented else (128, 64):
        tile = tile_for(made, outputs, dtype, way._replace(pixels=min(most, way.pixels)))
        while True:
            if max(shared_bytes(tile, sources, dtype, totals=segmented) for sources in read) <= MOST_SHARED:
                return tile
            if tile.samples == 1:
                break
            tile = tile._replace(samples=tile.samples // 2)
    return None


def precision_of(dtype: torch.dtype, accuracy: Accuracy | None) -> str:
    """How factors are multiplied, by its name in csrc/conv_norm_act/cuda_tile.h."""
    if dtype != torch.float32:
        return "kOneProduct"
    return {"exact": "kFused", "fast": "kOneProduct", None: "kThreeProducts"}[accuracy]


def limit(weight_shape: Sequence[int], s: Settings, made: Pair) -> str | None:
    """Why the CUDA kernel does not run a unit that makes pictures of `made` pixels; None where it does."""
    if s.dropout > 0:
        return "it has no dropout"
    if s.norm in ("layer_pixel", "rms_pixel"):
        return f"it has no norm over each pixel's channels, and norm is {s.norm!r}"
    if s.pool != (1, 1):
        return "it does not pool"
    groups = s.groups
    inputs, outputs = weight_shape[1], weight_shape[0] // groups
    if s.transposed:
        inputs, outputs = outputs, inputs
    if inputs < LEAST_CHANNELS or (groups > 1 and outputs < LEAST_CHANNELS):
        of_group = " of a group" if groups > 1 else ""
        return (
            f"{inputs} input and {outputs} output channels{of_group} are too few, expected {LEAST_CHANNELS}"
        )
    kernel = kernel_size(weight_shape)
    rows, columns = axes_of(s, kernel, made)
    phases = [(of_row, of_column) for of_row in rows for of_column in columns]
    of_dtypes = (fitting_tile(phases, outputs, dtype, projects=True, segmented=False) for dtype in _WIDTHS)
    if None in of_dtypes:
        return f"what a block reads for a kernel of {kernel} does not fit shared memory"
    return None


def ways_of(
    weight_shape: Sequence[int], s: Settings, made: Pair, dtype: torch.dtype, projects: bool
) -> dict[str, Way]:
    """Those of `WAYS` that differ for such a unit, the one by rule first."""
    found: dict[tuple[Tile, int] | None, str] = {None: ""}  # what fits nowhere is no way
    for name, way in WAYS.items():
        found.setdefault(_of_unit(weight_shape, s, made, dtype, projects, way)[1], name)
    return {name: WAYS[name] for fitting, name in found.items() if fitting is not None}


def _of_unit(
    weight_shape: Sequence[int], s: Settings, made: Pair, dtype: torch.dtype, projects: bool, way: Way
) -> tuple[list[tuple[Axis, Axis]], tuple[Tile, int] | None]:
    """The phases of a unit, and `tile_and_segments`."""
    rows, columns = axes_of(s, kernel_size(weight_shape), made)
    phases = [(of_row, of_column) for of_row in rows for of_column in columns]
    first, second = weight_shape[0] // s.groups, weight_shape[1]
    inputs, outputs = (first, second) if s.transposed else (second, first)
    return phases, tile_and_segments(phases, s.groups, outputs, inputs, dtype, projects=projects, way=way)


def described(
    weight_shape: Sequence[int], s: Settings, made: Pair, batch: int, dtype: torch.dtype, projects: bool
) -> str:
    """How blocks share a unit that `limit` lets pass, in words."""
    phases, fitting = _of_unit(weight_shape, s, made, dtype, projects, WAYS[""])
    assert fitting is not None
    tile, segments = fitting
    outputs = weight_shape[1] if s.transposed else weight_shape[0] // s.groups
    of_samples = f", {tile.samples} samples in one" if tile.samples > 1 else ""
    blocks = f"blocks of {tile.pixels} pixels by {tile.outputs} outputs{of_samples}"
    if segments == 1:
        return blocks
    apart = any(are_apart(segments, tile.blocks(phase, batch, s.groups, outputs)) for phase in phases)
    where = "split among blocks" if apart else "each block has all"
    return f"{blocks}, sums in {segments} segments of the inputs, {where}"


def blocks_of_one(
    weight_shape: Sequence[int], s: Settings, made: Pair, dtype: torch.dtype
) -> tuple[int, int]:
    """Of one picture of a unit that `limit` lets pass: its blocks, those of all segments, and these of a sum."""
    phases, fitting = _of_unit(weight_shape, s, made, dtype, False, WAYS[""])
    assert fitting is not None
    tile, segments = fitting
    outputs = weight_shape[1] if s.transposed else weight_shape[0] // s.groups
    return segments * sum(tile.blocks(phase, 1, s.groups, outputs) for phase in phases), segments


def back_limit(weight_shape: Sequence[int], s: Settings, size: Pair) -> str | None:
    """Why the CUDA kernel has no data gradient of a unit that reads pictures of `size` pixels; None where it has."""
    kernel = kernel_size(weight_shape)
    (rows, columns), _ = axes_back(s, kernel, size)
    phases = [(of_row, of_column) for of_row in rows for of_column in columns]
    outputs = weight_shape[0] // s.groups if s.transposed else weight_shape[1]
    of_dtypes = (fitting_tile(phases, outputs, dtype, projects=False, segmented=False) for dtype in _WIDTHS)
    if None in of_dtypes:
        return f"what a block of the data gradient reads for a kernel of {kernel} does not fit shared memory"
    return None


_WIDTHS = (torch.float16, torch.float32)
