"""What CUDA kernels move, as cards say it: counted right, and no more than the committed cards have."""

from __future__ import annotations

import pytest
import torch

from cuda_proof.build import needs_compiler
from cuda_proof.moved import Recorder, instead_of_launch
from genfuse_bench import card_bars, cards
from genfuse_bench.call import Call, ones
from genfuse_bench.card_cuda_calls import cuda_calls
from genfuse_bench.moved import SECTOR
from genfuse_kernels.cuda_kernels import TARGETS, cases
from genfuse_kernels.philox_normal.cuda_impl import philox_normal
from triton_proof.seeds import rotating

pytestmark = needs_compiler
NAMES = {case.kernel: case.name for case in cases()}
CALLS = list(cuda_calls(torch.float16))


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Kernels are built when a call launches them."""
    return Recorder(tmp_path_factory.mktemp("recorded"))


@pytest.mark.parametrize("gaps", [False, True])
def test_what_is_stored_is_touched_once_and_gaps_with_it(recorder, gaps):
    out = ones(1, 4, 32, 64)[..., ::2] if gaps else ones(1, 4, 32, 32)
    seeds, index = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    (row,) = recorder.moved(Call("noise", philox_normal, (out, seeds, index, 0)), "float32")
    assert row.minimum == row.call_minimum == out.nbytes + 16
    assert row.touched == row.call_touched == out.nbytes * (2 if gaps else 1) + 2 * SECTOR
    assert row.requested > out.nbytes


def launched(call: Call) -> set[tuple[str, str]]:
    """Kernels and cases that a call would launch; nothing runs."""
    found: set[tuple[str, str]] = set()
    with instead_of_launch(lambda kernel, *_, **__: found.add((kernel.function, NAMES.get(kernel, "?")))):
        call.run()
    return found


@pytest.mark.parametrize("number", rotating(1, len(CALLS)))
def test_kernels_move_no_more_than_the_committed_cards_say(recorder, number):
    """Of several calls that launch an instantiation the first has the card."""
    committed = {card.name: card for card in cards.load()}
    known = set().union(*map(launched, CALLS[:number]))
    for row in recorder.moved(CALLS[number], "float16"):
        if (row.kernel, row.case) in known:
            continue
        for target in TARGETS:
            name = f"cuda {row.kernel} ({row.case}) {target}"
            card = committed.get(f"{name} float16")
            if card is None:  # of float32 alone, whatever the images are
                assert f"{name} float32" in committed, f"{name} has no card; {card_bars.ACCEPT}"
                continue
            assert card.call_minimum == row.call_minimum
            for of in ("requested", "touched"):
                now, before = getattr(row, of), getattr(card, of)
                assert now <= before, f"{card.name}: {now} bytes {of}, {before} before; {card_bars.ACCEPT}"
