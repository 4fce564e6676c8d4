"""Cards of the CUDA kernels: compiled by NVRTC as on a user's machine, for targets that this machine need not have."""

from __future__ import annotations

import torch

from genfuse_bench.card import Card, cuda_card
from genfuse_bench.moved import Moved
from genfuse_kernels.common.cuda_kernel import STORED, cached
from genfuse_kernels.cuda_kernels import TARGETS, Case, cases


def cuda_cards(
    targets: tuple[str, ...] = TARGETS,
    dtypes: tuple[torch.dtype, ...] = tuple(STORED),
    *,
    wide: bool = False,
    moved: dict[tuple[str, str], Moved] | None = None,
) -> list[Card]:
    """A card of every case and target."""
    return [
        card_of(case, target, (moved or {}).get((case.kernel.function, case.name)))
        for target in targets
        for case in cases(dtypes, wide=wide)
    ]


def card_of(case: Case, target: str, moved: Moved | None = None) -> Card:
    """The card of one case."""
    kernel, name, threads, shared = case
    binary = cached(kernel, target).read_bytes()
    return cuda_card(binary, kernel.function, name, target, kernel.dtype, threads, shared, moved)
