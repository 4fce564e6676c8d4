"""Cards of the CUDA kernels: compiled by NVRTC as on a user's machine, for targets that this machine need not have."""

from __future__ import annotations

import torch

from genfuse_bench.card import Card, read_card
from genfuse_kernels.common.cuda_kernel import STORED, compiled
from genfuse_kernels.cuda_kernels import TARGETS, Case, cases


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
    return read_card(
        compiled(kernel, target), "cuda", kernel.function, name, target, kernel.dtype, threads, shared
    )
