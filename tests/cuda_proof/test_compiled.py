"""The CUDA kernels compiled offline: nothing spills, images move 128 bits at a time, cards are as committed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")  # which brings cuobjdump and nvdisasm

from genfuse_bench import cards
from genfuse_bench.card import Card, read_card
from genfuse_bench.cuda_cards import cuda_cards
from genfuse_kernels.common import nvrtc
from genfuse_kernels.common.cuda_kernel import STORED, Kernel
from genfuse_kernels.cuda_kernels import KERNELS, TARGETS, cases
from triton_proof.seeds import WHOLE, rotating

DTYPES = tuple(STORED)
TURN = rotating(1, len(TARGETS) * len(DTYPES))[0]
REGISTERS = 1.15
"""Of the committed card's: another version of NVRTC may use a few more."""


@pytest.fixture(scope="module")
def rows() -> list[Card]:
    """Of one dtype on one target, others every day, where the proof is whole all; in turn with wide offsets."""
    some = ((TARGETS[TURN % len(TARGETS)],), (DTYPES[TURN // len(TARGETS)],))
    wides = [bool(i) for i in rotating(1, 2)]
    return [card for wide in wides for card in cuda_cards(*(() if WHOLE else some), wide=wide)]


def committed() -> dict[tuple[str, str, str, str], dict[str, object]]:
    """The committed cards, by what they are of."""
    found = json.loads((cards.RESULTS / "cards.json").read_text())
    of_cuda = [row for row in found if row["backend"] == "cuda"]
    return {(row["kernel"], row["case"], row["target"], row["dtype"]): row for row in of_cuda}


PRODUCTS = ("conv_norm_act", "data_gradient", "weight_gradient")

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
    gradients sums of 64 bits, those of weights two numbers beside each other.
    """
    if card.case.startswith("planes") or card.kernel == "fold_moments":
        return True
    if card.kernel == "data_gradient":
        return set(card.loads) == {"128"} and set(card.stores) == {"64", "128"}
    if card.kernel == "weight_gradient":
        return set(card.loads) == {"128"} and set(card.stores) == {"64"}
    if card.kernel in IMAGES:
        loads, stores = IMAGES[card.kernel]
        return card.loads.get("128", 0) >= loads and card.stores.get("128", 0) >= stores
    if card.kernel == "conv_norm_act":
        return set(card.loads) == {"128"} and set(card.stores) == {"64", "128"} and card.stores["64"] == 3
    if card.kernel == "sampler_reduce":
        narrow = sum(card.loads.values()) - card.loads["128"]
        return narrow == 2 and sum(card.stores.values()) == 2
    return card.wide >= 0.9


def test_no_kernel_spills(rows):
    assert [row for row in rows if row.spills] == []


def test_convolutions_multiply_on_tensor_cores(rows):
    for row in rows:
        if row.kernel in PRODUCTS:
            assert (row.tensor_core > 0) == ("kFused" not in row.case), row


def test_images_in_memory_order_move_128_bits_at_a_time(rows):
    for row in rows:
        assert _is_wide(row), row


def test_cards_are_no_worse_than_the_committed_ones(rows):
    known = committed()
    for row in rows:
        of_row = row.kernel, row.case, row.target, row.dtype
        if of_row not in known:
            assert "64-bit" in row.case, row
            continue
        before = Card(**known[of_row])
        assert row.registers <= REGISTERS * before.registers, (row, before)
        assert row.shared_bytes <= before.shared_bytes and row.wide >= before.wide, (row, before)


def test_every_kernel_has_a_committed_card_that_meets_the_bars():
    found = committed()
    assert set(found) == {
        (case.kernel.function, case.name, target, str(case.kernel.dtype).removeprefix("torch."))
        for case in cases()
        for target in TARGETS
    }
    for row in found.values():
        card = Card(**row)
        assert not card.spills and _is_wide(card), card
        assert card.kernel not in PRODUCTS or card.tensor_core or "kFused" in card.case, card
    assert "| cuda | sampler_step | channels_last | sm_90a |" in (cards.RESULTS / "cards.md").read_text()


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
        return read_card(binary, "cuda", name, "", "sm_80", torch.float32, 128)

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
