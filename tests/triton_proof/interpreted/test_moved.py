"""What Triton kernels move, as cards say it: counted right, and no more than the committed cards have."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from genfuse_bench import card_bars, cards
from genfuse_bench.call import Call
from genfuse_bench.card_calls import all_calls, bias_act_calls, list_calls, sampler_calls
from triton_proof.moved import moved
from triton_proof.seeds import WHOLE, rotating

COUNT = 256


@triton.jit
def planted_kernel(out, x, STRIDE: tl.constexpr, COUNT: tl.constexpr):
    """x read twice, with gaps."""
    i = tl.arange(0, COUNT)
    value = tl.load(x + i * STRIDE)
    tl.store(out + i, value + tl.load(x + i * STRIDE))


def _planted(out: torch.Tensor, x: torch.Tensor) -> None:
    planted_kernel[(1,)](out, x, x.stride(0), COUNT)


def _in_two_steps(out: torch.Tensor, x: torch.Tensor) -> None:
    between = torch.empty(COUNT)
    _planted(between, x)
    _planted(out, between)


def test_what_is_read_twice_is_requested_twice_and_touched_once():
    out, x = torch.empty(COUNT), torch.ones(COUNT)
    (row,) = moved(Call("", _planted, (out, x)), "float32")
    assert (row.kernel, row.blocks) == ("planted", 1)
    assert (row.requested, row.touched, row.minimum) == (3 * 4 * COUNT, 2 * 4 * COUNT, 2 * 4 * COUNT)
    assert row.flops == COUNT


def test_gaps_are_touched_too():
    out, x = torch.empty(COUNT), torch.ones(8 * COUNT)[::8]  # an element a sector
    (row,) = moved(Call("", _planted, (out, x)), "float32")
    assert (row.touched, row.minimum) == ((32 + 4) * COUNT, 2 * 4 * COUNT)


def test_what_a_call_allocates_counts_in_its_kernels_and_not_in_the_whole_calls_minimum():
    out, x = torch.empty(COUNT), torch.ones(COUNT)
    (row,) = moved(Call("", _in_two_steps, (out, x)), "float32")
    assert row.touched == row.minimum == row.call_touched == 4 * 4 * COUNT
    assert row.call_minimum == 2 * 4 * COUNT


DTYPE = torch.float16
CALLS = [*all_calls(DTYPE)] if WHOLE else [*sampler_calls(DTYPE), *list_calls(DTYPE), *bias_act_calls(DTYPE)]


@pytest.mark.parametrize("number", rotating(2, len(CALLS)))
def test_kernels_move_no_more_than_the_committed_cards_say(number):
    committed = {
        (card.kernel, card.case): card
        for card in cards.load()
        if card.backend == "triton" and card.dtype == "float16" and card.minimum
    }
    for row in moved(CALLS[number], "float16"):
        card = committed.get((row.kernel, row.case), row)  # of all targets, which launch alike
        for of in ("requested", "touched"):
            now, before = getattr(row, of), getattr(card, of)
            assert now <= before, (
                f"{row.kernel} ({row.case}): {now} bytes {of}, {before} before; {card_bars.ACCEPT}"
            )
