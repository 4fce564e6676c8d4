"""How the CUDA weight gradient shares weights and pixels among blocks: csrc/conv_norm_act/cuda_weight_gradient.cu.

A block sums 32 to 128 dense channels by some *units*, a unit a tap and a chunk of gathered channels, over a span of
tiles of pixels. Tiles lie in shared memory twice, one multiplied while the next is copied. By shapes and dtype alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from genfuse_kernels.conv_norm_act.axes import Axis, forward_axis
from genfuse_kernels.conv_norm_act.cuda_plan import CHUNK_BYTES, MOST_SHARED, halo_of, rectangle
from genfuse_kernels.conv_norm_act.settings import Pair, Settings, kernel_size

BLOCKS = 512
"""Blocks that are worth having, on any device: the bits may not depend on which."""

LEAST_SPAN = 512
"""Pixels of a block, where that many are there."""

_HALO_PIXEL = 8  # bytes of where a tile's pixel comes from
_ZEROS = 16  # bytes in front of the tiles


class WeightTile(NamedTuple):
    """A block: warps along the dense channels and along the units, and units of a warp; and its tile of pixels.

    taps, chunks   of its units
    rows, columns  of a sample's pixels, as exponents of 2
    """

    warp_rows: int
    warp_columns: int
    warp_units: int
    taps: int
    chunks: int
    rows: int
    columns: int
    samples: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.warp_rows * self.warp_columns * 32

    @property
    def outputs(self) -> int:
        """Dense channels of a block."""
        return self.warp_rows * 32

    @property
    def sum_parts(self) -> int:
        """Sums of a sample's pixels in a tile: threads that have the same channel share its pixels, or its samples."""
        return 1 if self.samples > 1 else self.warp_columns

    def macros(self, precision: str) -> tuple[tuple[str, int | str], ...]:
        """What the kernel is compiled for."""
        sizes = {"ROWS": self.warp_rows, "COLUMNS": self.warp_columns, "UNITS": self.warp_units}
        return *sizes.items(), ("PRECISION", precision)

    def tiles(self, made: Pair, batch: int) -> tuple[int, int, int]:
        """Along the rows and columns of a sample, and of all samples."""
        rows, columns = -(-made[0] >> self.rows), -(-made[1] >> self.columns)
        return rows, columns, rows * columns * -(-batch // self.samples)

    def shared_bytes(self, axes: tuple[Axis, Axis], dtype: torch.dtype) -> int:
        """Of a block whose gathered pixels lie along these axes."""
        gathered = halo_of(axes[0], self.rows).pixels * halo_of(axes[1], self.columns).width
        dense = 1 << self.rows + self.columns
        words = dense * self.outputs * dtype.itemsize // CHUNK_BYTES + gathered * self.chunks
        return _ZEROS + 2 * (self.samples * words * CHUNK_BYTES + (dense + gathered) * _HALO_PIXEL)


def weight_axes(s: Settings, kernel: Pair, made: Pair) -> tuple[Axis, Axis]:
    """Where the taps gather for the dense pixels, of which there are `made`."""
    rows, columns = (
        forward_axis(made[i], s.stride[i], s.padding[i], kernel[i], s.dilation[i])[0] for i in (0, 1)
    )
    return rows, columns


def weight_tile(axes: tuple[Axis, Axis], outputs: int, inputs: int, dtype: torch.dtype) -> WeightTile | None:
    """For a group's dense `outputs` and gathered `inputs`; None where no tile fits shared memory."""
    taps = axes[0].taps * axes[1].taps
    warps = (4, 2, 2) if taps in (1, 2, 4) and outputs > 64 else (2, 3, 3)
    units = warps[1] * warps[2]
    of_block = -(-taps // -(-taps // units))
    chunks = min(units // of_block, -(-inputs * dtype.itemsize // CHUNK_BYTES))
    for pixels in (128, 64, 32, 16):
        tile = WeightTile(*warps, of_block, chunks, *rectangle((axes[0].made, axes[1].made), pixels))
        if tile.shared_bytes(axes, dtype) <= MOST_SHARED:
            return tile
    return None


def spans(tiles: int, pixels: int, blocks: int) -> tuple[int, int]:
    """Blocks that share the `tiles` of `pixels` each with `blocks` that sum other weights, and the tiles of one."""
    splits = max(1, min(BLOCKS // blocks, tiles * pixels // LEAST_SPAN))
    span = -(-tiles // splits)
    return -(-tiles // span), span


def weight_limit(weight_shape: Sequence[int], s: Settings, made: Pair) -> str | None:
    """Why the kernel has no weight gradient of a unit whose dense pixels are `made`; None where it has."""
    axes = weight_axes(s, kernel_size(weight_shape), made)
    outputs, inputs = weight_shape[0] // s.groups, weight_shape[1]
    if None in (weight_tile(axes, outputs, inputs, dtype) for dtype in (torch.float16, torch.float32)):
        return f"what a block of weights reads for a kernel of {kernel_size(weight_shape)} does not fit shared memory"
    return None
