"""Every CUDA kernel that a launcher may ask for: what is compiled ahead of time, and what has a card."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from genfuse_kernels.common import cuda_tile
from genfuse_kernels.common.cuda_kernel import STORED, Kernel
from genfuse_kernels.common.cuda_walk import THREADS, Order
from genfuse_kernels.conv_norm_act.axes import Axis, forward_axis
from genfuse_kernels.conv_norm_act.cuda_plan import shared_bytes, tile_for
from genfuse_kernels.conv_norm_act.cuda_weight_plan import weight_tile
from genfuse_kernels.norm_stats.spec import DTYPES as SINGLE
from genfuse_kernels.sampler_reduce import cuda_impl as sampler_reduce

WALKED: tuple[Order, ...] = ("flat", "channels_last", "planes")
TILED: tuple[Order, ...] = ("rows", "channels_last", "planes")


class Kernels(NamedTuple):
    """The instantiations of one kernel; of what knows no order, the last one stands for it."""

    op: str
    part: str = ""
    orders: tuple[Order, ...] = TILED
    dtypes: tuple[torch.dtype, ...] = SINGLE
    threads: int = cuda_tile.THREADS


KERNELS = (
    Kernels("philox_normal", "", WALKED, tuple(STORED), THREADS),
    Kernels("sampler_reduce", "", ("flat", "planes"), tuple(STORED), sampler_reduce.THREADS),
    Kernels("sampler_step", "", WALKED, tuple(STORED), THREADS),
    Kernels("norm_stats"),
    Kernels("norm_act"),
    Kernels("norm_act", "measured_act"),
    Kernels("norm_act", "pool_act", ("channels_last", "planes")),
    Kernels("conv_norm_act", "channel_table", ("planes",)),
    Kernels("conv_norm_act", "pixel_table"),
    Kernels("conv_norm_act", "gradient_sums"),
    Kernels("conv_norm_act", "pixel_sums"),
    Kernels("conv_norm_act", "read_gradient"),
    Kernels("conv_norm_act", "summed_gradient"),
    Kernels("conv_norm_act", "fold_weights", ("planes",), (torch.float32,)),
    Kernels("fold_moments", "", ("planes",), (torch.float32,)),
)
"""Every CUDA kernel but the convolution's, which has tiles besides."""

TARGETS = ("sm_80", "sm_90a", "sm_100a")


class Case(NamedTuple):
    """A kernel, what it is called, its block's threads, and bytes of shared memory; None: what it declares."""

    kernel: Kernel
    name: str
    threads: int
    shared: int | None


def kernels() -> Iterator[Kernel]:
    """All of them, with offsets in 32 and in 64 bits."""
    for wide in (False, True):
        yield from (case.kernel for case in cases(wide=wide))


def cases(dtypes: tuple[torch.dtype, ...] = tuple(STORED), *, wide: bool = False) -> Iterator[Case]:
    """Every instantiation; `wide`: with offsets in 64 bits."""
    suffix = ", 64-bit offsets" if wide else ""
    for of in KERNELS:
        for dtype in dtypes:
            if dtype in of.dtypes:
                for order in of.orders:
                    kernel = Kernel(of.op, dtype, order, wide, of.part)
                    yield Case(kernel, f"{order}{suffix}", of.threads, None)
    for dtype in dtypes:
        for order in _CONVOLVED:
            if dtype != torch.float64:
                for part in ("", "data_gradient"):
                    yield from _convolutions(part, dtype, order, wide, suffix)
                yield from _weight_gradients(dtype, order, wide, suffix)


_CONVOLVED: tuple[Order, ...] = ("channels_last", "planes")


_PRECISIONS = ("kOneProduct", "kThreeProducts", "kFused")


def _precisions(dtype: torch.dtype) -> Iterator[tuple[str, str]]:
    """How factors are multiplied, and what a case's name says of it."""
    if dtype != torch.float32:
        yield "kOneProduct", ""
    else:
        yield from ((precision, f", {precision}") for precision in _PRECISIONS)


def _convolutions(part: str, dtype: torch.dtype, order: Order, wide: bool, suffix: str) -> Iterator[Case]:
    tiles = [tile_for((size, size), outputs, dtype) for size in (32, 8) for outputs in (128, 64)]
    for tile in dict.fromkeys(tiles):
        for precision, named in _precisions(dtype):
            kernel = Kernel("conv_norm_act", dtype, order, wide, part, tile.macros(precision))
            name = f"{order}, {tile.pixels} x {tile.outputs}{named}{suffix}"
            yield Case(kernel, name, tile.threads(dtype), shared_bytes(tile, [_axes(3)], dtype, totals=False))


def _weight_gradients(dtype: torch.dtype, order: Order, wide: bool, suffix: str) -> Iterator[Case]:
    for taps in (3, 1):
        tile = weight_tile(_axes(taps), 128, 128, dtype)
        assert tile is not None
        units = tile.warp_columns * tile.warp_units
        for precision, named in _precisions(dtype):
            kernel = Kernel("conv_norm_act", dtype, order, wide, "weight_gradient", tile.macros(precision))
            name = f"{order}, {tile.outputs} x {units} units{named}{suffix}"
            yield Case(kernel, name, tile.threads, tile.shared_bytes(_axes(taps), dtype))


def _axes(taps: int) -> tuple[Axis, Axis]:
    """Of a convolution that keeps 32 x 32 pixels."""
    axis = forward_axis(32, 1, taps // 2, taps, 1)[0]
    return axis, axis
