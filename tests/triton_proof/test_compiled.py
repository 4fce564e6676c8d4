"""Every kernel compiled offline: nothing spills to local memory, and flat orders move 128 bits at a time."""

from __future__ import annotations

import json

import pytest
import torch

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402

from genfuse_bench import cards  # noqa: E402

FLAT = ("deterministic, contiguous", "deterministic, channels_last", "everything, contiguous", "contiguous")


@pytest.fixture(scope="module", params=[(80, torch.float32), (90, torch.bfloat16)], ids=["sm_80", "sm_90"])
def rows(request) -> list[cards.Card]:
    target, dtype = request.param
    return cards.cards((target,), (dtype,))


def test_every_op_has_a_card(rows):
    assert {row.kernel for row in rows} == {
        "philox_normal",
        "sampler_step",
        "sampler_reduce",
        "norm_stats",
        "norm_act",
        "fold_moments",
        "channel_table",
        "batch_moments",
        "pixel_table",
    }


def test_no_kernel_spills(rows):
    assert [row for row in rows if row.spills] == []


def test_flat_orders_move_128_bits(rows):
    for row in rows:
        if row.kernel in ("norm_stats", "norm_act"):
            assert "128" in row.loads and (row.kernel == "norm_stats" or "128" in row.stores), row
        if row.case in FLAT and row.kernel != "sampler_reduce":
            assert set(row.stores) == {"128"}, row
            assert row.kernel == "philox_normal" or row.loads["128"] >= 2, row


def test_the_committed_cards_show_no_spill_on_any_target():
    rows = json.loads((cards.RESULTS / "cards.json").read_text())
    assert {row["target"] for row in rows} >= {"sm_80", "sm_90"}
    assert {row["dtype"] for row in rows} == {"float32", "bfloat16", "float16", "float64"}
    assert not [row for row in rows if row["spill_bytes"] or row["local_bytes"] or row["local_accesses"]]


@triton.jit
def planted_spill_kernel(out, values, SIZE: tl.constexpr):
    """More live values than registers: each is needed again after all have been summed."""
    i = tl.arange(0, SIZE)
    value = tl.load(values + i)
    tl.store(out + i, tl.sum(value) * value)


class _Planted:
    planted_spill_kernel = planted_spill_kernel

    @staticmethod
    def planted_spill(size: int) -> None:
        out, values = torch.empty(size), torch.empty(size)
        _Planted.planted_spill_kernel[(1,)](out, values, SIZE=size, num_warps=1, maxnreg=32)


def test_a_planted_spill_is_seen():
    with cards.standin_driver(80):
        binary = cards.compile_call(_Planted, "planted_spill", 2048)
    assert cards.read_card(binary, "planted_spill", "", 80, torch.float32).spills


@pytest.mark.parametrize(
    "registers, shared, threads, expected",
    [(32, 0, 128, 1.0), (128, 0, 128, 0.25), (255, 0, 1024, 0.0), (32, 99 * 1024, 256, 0.125)],
)
def test_occupancy_on_sm_80(registers, shared, threads, expected):
    assert cards.occupancy(80, registers, shared, threads) == expected
