"""Kernel cards: what each Triton and CUDA kernel costs on each target, read from the binary, without a GPU.

    python -m genfuse_bench.cards [--jobs N]     writes bench/results/cards.json and bench/results/cards.md

For Triton a stand-in driver names the target; each launcher runs on CPU tensors and its kernels are compiled only, so
that the specialisation is the real one. CUDA kernels are compiled by NVRTC as on a user's machine. What is compiled,
read or recorded is kept (Triton's cache, ``$GENFUSE_CACHE``), and a backend's cards of a dtype are written when they
are made, in place of those that were there: a run that was stopped goes on where it was, and where one kernel changed
only calls that run its code are recorded again (`recorded`).

A card is a floor and a gate (`card_bars`), never a time. Its figures:

    registers, spills, shared memory   of the assembler; occupancy and what limits it by the makers' tables
    128 bits    share of the loads and stores of global memory that move 128 bits or more a thread, in the machine code,
                those of numbers apart that all threads of a program share
    special, instructions   in the machine code, each once
    requested   bytes that the lanes ask for, over the minimum: what caches have to serve
    touched     bytes of the 32-byte sectors that each launch loads, and of those that it stores, each once, over the
                minimum: what memory moves where caches hold all that a launch reads twice
    minimum     the tensors that the kernel touches, each element once (`moved.Moved`)
    whole call  touched by all kernels of the call, over its own inputs and outputs: what a norm that takes a pass of
                its own, or an image that passes between two kernels, costs beyond them
    FLOP/byte   of the call's definition (matrix products) or as the interpreter computed them, over the minimum
    floors      microseconds on the target's GPU by its data sheet (`peaks`): memory and arithmetic, whose greater one
                is the roofline's; issue: the shortest way through the code, each loop at most once, in all warps;
                special: the fewest special functions on any way, likewise

Triton's calls are of two pictures, CUDA's of one: a floor is of those shapes, no prediction, and no GPU was asked.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import torch

from genfuse_bench import card_bars, card_table
from genfuse_bench.call import Call
from genfuse_bench.card import Card, triton_card
from genfuse_bench.card_calls import all_calls
from genfuse_bench.compiled import standin_driver
from genfuse_bench.cuda_cards import cuda_cards
from genfuse_bench.moved import Moved
from genfuse_bench.recorded import recorded
from genfuse_kernels.cuda_kernels import TARGETS as CUDA_TARGETS

Calls = Callable[[torch.dtype], Iterator[Call]]

RESULTS = Path(__file__).parents[1] / "results"
TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")
DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.float32)
"""Those of few kernels first."""


def cards(
    targets: tuple[str, ...] = TARGETS,
    dtypes: tuple[torch.dtype, ...] = DTYPES,
    calls: Calls = all_calls,
    moved: dict[tuple[str, str], Moved] | None = None,
) -> list[Card]:
    """Compile Triton's calls for every target and read the cards; RuntimeError under TRITON_INTERPRET."""
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        raise RuntimeError("TRITON_INTERPRET is set; cards need the compiler: start a process without it")
    found = []
    for target in targets:
        with standin_driver(target):
            for dtype in dtypes:
                for call in calls(dtype):
                    for kernel, binary in call.compiled():
                        of = (moved or {}).get((kernel, call.case))
                        found.append(triton_card(binary, kernel, call.case, target, dtype, of))
    return found


def load(path: Path = RESULTS / "cards.json") -> list[Card]:
    """The committed cards."""
    known = {field.name for field in fields(Card)}
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Card(**{name: value for name, value in row.items() if name in known}) for row in rows]


def as_row(card: Card) -> dict[str, object]:
    """What cards.json has of a card: its fields, and what follows from them."""
    floors = {name: float(f"{value:.3g}") for name, value in card.floors.items()}
    return {**asdict(card), "wide": round(card.wide, 4), "floors": floors}


def write(rows: list[Card], folder: Path = RESULTS) -> None:
    """cards.json and cards.md."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "[\n" + ",\n".join(json.dumps(as_row(row)) for row in rows) + "\n]\n"
    (folder / "cards.json").write_text(text, encoding="utf-8")
    (folder / "cards.md").write_text(card_table.markdown(rows), encoding="utf-8")


def _piece(backend: str, target: str, dtype: torch.dtype, moved: dict[tuple[str, str], Moved]) -> list[Card]:
    if backend == "cuda":
        return cuda_cards((target,), (dtype,), moved=moved)
    return cards((target,), (dtype,), moved=moved)


def _group(card: Card) -> tuple[str, str]:
    return card.backend, card.dtype


def main() -> None:
    """Write the cards, those of a backend and dtype at a time; fail on what is beyond the bars and not excused."""
    parser = argparse.ArgumentParser(prog="genfuse_bench.cards", description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="targets compiled at a time")
    jobs = parser.parse_args().jobs
    targets = {"triton": TARGETS, "cuda": CUDA_TARGETS}
    groups = [(backend, dtype) for backend in targets for dtype in DTYPES]
    names = [(backend, str(dtype).removeprefix("torch.")) for backend, dtype in groups]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for (backend, dtype), name in zip(groups, names, strict=True):
            moved = recorded(backend, torch.float16 if dtype == torch.bfloat16 else dtype)  # the same bytes
            pieces = pool.map(_piece, repeat(backend), targets[backend], repeat(dtype), repeat(moved))
            made = [card for piece in pieces for card in piece]
            others = [card for card in load() if _group(card) in names and _group(card) != name]
            rows = sorted(others + made, key=lambda card: names.index(_group(card)))
            write(rows)
            print(*name, len(made), file=sys.stderr, flush=True)
    beyond = [f"{card.name}: {what}" for card in rows for what in card_bars.unexcused(card)]
    if beyond:
        raise SystemExit("beyond the bars, and not in card_bars.EXCUSED:\n" + "\n".join(beyond))


if __name__ == "__main__":
    main()
