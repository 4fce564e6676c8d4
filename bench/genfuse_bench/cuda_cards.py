"""Cards of the CUDA kernels: compiled by NVRTC as on a user's machine, for targets that this machine need not have."""

from __future__ import annotations

import torch

from genfuse_bench.card import Card, read_card
from genfuse_kernels.common.cuda_kernel import STORED, Kernel, compiled
from genfuse_kernels.common.cuda_walk import THREADS, Order
from genfuse_kernels.sampler_reduce import cuda_impl as sampler_reduce

OPS: dict[str, tuple[Order, ...]] = {
    "philox_normal": ("flat", "channels_last", "planes"),
    "sampler_reduce": ("flat", "planes"),
    "sampler_step": ("flat", "channels_last", "planes"),
}
"""The orders that each op's kernel walks in."""

BLOCKS = {"sampler_reduce": sampler_reduce.THREADS}
"""Threads of a block, else `THREADS`."""

TARGETS = ("sm_80", "sm_90a", "sm_100a")


def cuda_cards(
    targets: tuple[str, ...] = TARGETS,
    dtypes: tuple[torch.dtype, ...] = tuple(STORED),
    *,
    wide: bool = False,
) -> list[Card]:
    """A card of every op, target, dtype and order; `wide`: with offsets in 64 bits."""
    return [
        cuda_card(Kernel(op, dtype, order, wide), target)
        for op, orders in OPS.items()
        for target in targets
        for dtype in dtypes
        for order in orders
    ]


def cuda_card(kernel: Kernel, target: str) -> Card:
    """The card of one kernel."""
    cubin = compiled(kernel, target)
    case = f"{kernel.order}, 64-bit offsets" if kernel.wide else kernel.order
    return read_card(cubin, "cuda", kernel.op, case, target, kernel.dtype, BLOCKS.get(kernel.op, THREADS))
