"""Cards of the CUDA kernels: compiled by NVRTC as on a user's machine, for targets that this machine need not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from genfuse_bench.card import Card, read_card
from genfuse_kernels.common.cuda_kernel import STORED, Kernel, compiled
from genfuse_kernels.common.cuda_walk import THREADS, Order
from genfuse_kernels.conv_norm_act.axes import forward_axis
from genfuse_kernels.conv_norm_act.cuda_plan import Tile, shared_bytes, tile_for
from genfuse_kernels.sampler_reduce import cuda_impl as sampler_reduce

OPS: dict[str, tuple[Order, ...]] = {
    "philox_normal": ("flat", "channels_last", "planes"),
    "sampler_reduce": ("flat", "planes"),
    "sampler_step": ("flat", "channels_last", "planes"),
    "conv_norm_act": ("channels_last", "planes"),
    "fold_moments": ("flat",),
}
"""The orders that each op's kernel walks in."""

BLOCKS = {"sampler_reduce": sampler_reduce.THREADS}
"""Threads of a block, else `THREADS`."""

TARGETS = ("sm_80", "sm_90a", "sm_100a")


class Case(NamedTuple):
    """A kernel, what it is called, its block's threads, and bytes of shared memory; None: what it declares."""

    kernel: Kernel
    name: str
    threads: int
    shared: int | None


def cases(dtypes: tuple[torch.dtype, ...] = tuple(STORED), *, wide: bool = False) -> Iterator[Case]:
    """Every instantiation; `wide`: with offsets in 64 bits, of convolutions those of the largest tile."""
    suffix = ", 64-bit offsets" if wide else ""
    for op, orders in OPS.items():
        for order in orders:
            for dtype in dtypes:
                if op == "conv_norm_act":
                    yield from _convolutions(dtype, order, wide, suffix)
                elif op != "fold_moments":
                    kernel = Kernel(op, dtype, order, wide)
                    yield Case(kernel, f"{order}{suffix}", BLOCKS.get(op, THREADS), None)
                elif dtype == torch.float32 and not wide:
                    yield Case(Kernel(op, dtype, order, wide), "rows", THREADS, None)


def _convolutions(dtype: torch.dtype, order: Order, wide: bool, suffix: str) -> Iterator[Case]:
    if dtype == torch.float64:
        return
    half = dtype != torch.float32
    precisions = ("kOneProduct",) if half else ("kOneProduct", "kThreeProducts", "kFused")
    tiles = [tile_for((size, size), outputs, dtype) for size in (32, 8) for outputs in (128, 64)]
    for tile in dict.fromkeys(tiles[:1] if wide else tiles):
        for precision in precisions:
            kernel = Kernel("conv_norm_act", dtype, order, wide, tile.macros(precision))
            name = f"{order}, {tile.pixels} x {tile.outputs}" + ("" if half else f", {precision}")
            yield Case(kernel, name + suffix, tile.threads(dtype), _shared(tile))


def _shared(tile: Tile) -> int:
    """Of a 3x3 convolution."""
    axis = forward_axis(32, 1, 1, 3, 1)[0]
    return shared_bytes(tile, [(axis, axis)])


def cuda_cards(
    targets: tuple[str, ...] = TARGETS,
    dtypes: tuple[torch.dtype, ...] = tuple(STORED),
    *,
    wide: bool = False,
) -> list[Card]:
    """A card of every case and target."""
    return [cuda_card(case, target) for target in targets for case in cases(dtypes, wide=wide)]


def cuda_card(case: Case, target: str) -> Card:
    """The card of one case."""
    kernel, name, threads, shared = case
    return read_card(compiled(kernel, target), "cuda", kernel.op, name, target, kernel.dtype, threads, shared)
