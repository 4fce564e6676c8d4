"""The CUDA kernels compiled offline: nothing spills, images move 128 bits at a time, cards are as committed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")  # which brings cuobjdump and nvdisasm

from genfuse_bench import card_bars, cards
from genfuse_bench.card import Card, cuda_card
from genfuse_bench.cuda_cards import card_of
from genfuse_kernels.common import nvrtc
from genfuse_kernels.common.cuda_kernel import STORED, Kernel
from genfuse_kernels.cuda_kernels import KERNELS, TARGETS, cases
from triton_proof.seeds import WHOLE, rotating

DTYPES = tuple(STORED)
CASES = [(target, dtype, wide) for target in TARGETS for dtype in DTYPES for wide in (False, True)]


@pytest.fixture(scope="module")
def rows() -> list[Card]:
    """Six instantiations a day, of one dtype on one target; where the proof is whole all."""
    found: list[Card] = []
    for number in rotating(1, len(CASES)):
        target, dtype, wide = CASES[number * 7 % len(CASES)]
        of = list(cases((dtype,), wide=wide))
        chosen = of if WHOLE else [of[i] for i in sorted({seed * 31 % len(of) for seed in rotating(6, 997)})]
        found += [card_of(case, target) for case in chosen]
    return found


@pytest.fixture(scope="module")
def committed() -> dict[str, Card]:
    """The committed cards, by name."""
    return {card.name: card for card in cards.load() if card.backend == "cuda"}


IMAGES = {
    "norm_stats": (4, 0),
    "norm_act": (4, 2),
    "measured_act": (4, 2),
    "pool_act": (2, 1),
    "pixel_table": (4, 0),
    "gradient_sums": (4, 0),
    "pixel_sums": (8, 0),
    "read_gradient": (4, 2),
    "summed_gradient": (4, 2),
}
"""Loads and stores of images in kernels that walk over tiles, which read tables and write sums besides."""


def _is_wide(card: Card) -> bool:
    """Whether images in memory order move 128 bits at a time.

    `sampler_reduce` also reads first elements, and a convolution stores moments, three numbers of 64 bits; of its
    gradients sums of 64 bits, those of weights two numbers beside each other
    and sums of tiles.
    """
    if card.case.startswith("planes") or card.kernel == "fold_moments":
        return True
    if card.kernel == "data_gradient":
        return set(card.loads) == {"128"} and set(card.stores) == {"64", "128"}
    if card.kernel == "weight_gradient":
        return (
            set(card.loads) == {"128"} and set(card.stores) <= {"32", "64"} and card.stores.get("32", 0) <= 1
        )
    if card.kernel in IMAGES:
        loads, stores = IMAGES[card.kernel]
        return card.loads.get("128", 0) >= loads and card.stores.get("128", 0) >= stores
    if card.kernel == "conv_norm_act":
        return set(card.loads) == {"128"} and set(card.stores) == {"64", "128"} and card.stores["64"] == 3
    if card.kernel == "sampler_reduce":
        narrow = sum(card.loads.values()) - card.loads["128"]
        return narrow == 2 and sum(card.stores.values()) == 2
    return card.wide >= 0.9


def test_cards_reach_the_bars(rows):
    for card in rows:
        assert card_bars.unexcused(card) == [] and _is_wide(card), card


def test_cards_are_no_worse_than_the_committed_ones(rows, committed):
    for card in rows:
        if "64-bit" not in card.case:
            assert card.name in committed, f"{card.name} has no committed card: `make cards` writes one"
            assert card_bars.worse(card, committed[card.name]) == []


def test_every_kernel_has_a_committed_card_that_reaches_the_bars(committed):
    assert {(card.kernel, card.case, card.target, card.dtype) for card in committed.values()} == {
        (case.kernel.function, case.name, target, str(case.kernel.dtype).removeprefix("torch."))
        for case in cases()
        for target in TARGETS
    }
    for card in committed.values():
        assert card_bars.unexcused(card) == [] and _is_wide(card), card
    assert "| cuda | sampler_step | channels_last | sm_90a |" in (cards.RESULTS / "cards.md").read_text()


def test_every_source_is_a_kernel_that_is_built_and_has_cards():
    root = Path(__file__).parents[2] / "csrc"
    assert set(root.rglob("cuda*.cu")) == {case.kernel.source for case in cases()}


PLANTED = {
    "local": """extern "C" __global__ void planted(float* out, const int* order) {
        float kept[64];
        for (int i = 0; i < 64; ++i) kept[order[i]] = out[i];
        for (int i = 0; i < 64; ++i) out[i] = kept[order[63 - i]];
    }""",
    "narrow": """extern "C" __global__ void planted(float* out) {
        out[threadIdx.x] = out[threadIdx.x + 128];
    }""",
}


def test_planted_local_memory_and_narrow_accesses_are_seen():
    def card(name: str) -> Card:
        binary = nvrtc.compile_source(PLANTED[name], f"{name}.cu", [], "sm_80")
        return cuda_card(binary, name, "", "sm_80", torch.float32, 128)

    assert card("local").spills
    assert not card("narrow").spills and card("narrow").wide == 0


def test_sources_are_installed_with_the_package():
    """CMakeLists.txt installs every file that a kernel includes."""
    root = Path(__file__).parents[2] / "csrc"
    installed = (root / "CMakeLists.txt").read_text()
    assert "install(DIRECTORY common/cuda " in installed
    for of in KERNELS:
        source = Kernel(of.op, of.dtypes[0], of.orders[0], False, of.part).source
        for path in [source, *root.glob(f"{of.op}/cuda_*.h")]:
            assert f"{of.op}/{path.name}" in installed, path
            for line in path.read_text().splitlines():
                if line.startswith('#include "'):
                    included = line.split('"')[1]
                    assert included.startswith("common/cuda/") or included in installed, line
