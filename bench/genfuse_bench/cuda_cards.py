"""Cards of the CUDA kernels: compiled by NVRTC as on a user's machine, for targets that this machine need not have."""

from __future__ import annotations

from typing import NamedTuple

import torch

from genfuse_bench.card import Card, read_card
from genfuse_kernels.common import cuda_tile
from genfuse_kernels.common.cuda_kernel import STORED, Kernel, compiled
from genfuse_kernels.common.cuda_walk import THREADS, Order
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
    Kernels("norm_stats", "fold_moments", ("planes",), (torch.float32,)),
    Kernels("norm_act"),
    Kernels("norm_act", "measured_act"),
    Kernels("norm_act", "pool_act", ("channels_last", "planes")),
    Kernels("conv_norm_act", "channel_table", ("planes",)),
    Kernels("conv_norm_act", "pixel_table"),
    Kernels("conv_norm_act", "gradient_sums"),
    Kernels("conv_norm_act", "pixel_sums"),
    Kernels("conv_norm_act", "read_gradient"),
    Kernels("conv_norm_act", "summed_gradient"),
)
"""Every CUDA kernel."""

TARGETS = ("sm_80", "sm_90a", "sm_100a")


def cuda_cards(
    targets: tuple[str, ...] = TARGETS,
    dtypes: tuple[torch.dtype, ...] = tuple(STORED),
    *,
    wide: bool = False,
) -> list[Card]:
    """A card of every kernel, target, dtype and order; `wide`: with offsets in 64 bits."""
    return [
        cuda_card(Kernel(of.op, dtype, order, wide, of.part), target, of.threads)
        for of in KERNELS
        for target in targets
        for dtype in dtypes
        if dtype in of.dtypes
        for order in of.orders
    ]


def cuda_card(kernel: Kernel, target: str, threads: int) -> Card:
    """The card of one kernel."""
    cubin = compiled(kernel, target)
    case = f"{kernel.order}, 64-bit offsets" if kernel.wide else kernel.order
    return read_card(cubin, "cuda", kernel.function, case, target, kernel.dtype, threads)
