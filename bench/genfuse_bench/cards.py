"""Kernel cards: what each Triton and CUDA kernel costs on each target, read from the binary, without a GPU.

    python -m genfuse_bench.cards        writes bench/results/cards.json and bench/results/cards.md

For Triton a stand-in driver names the target; each launcher runs on CPU tensors and its kernels are compiled only, so
that the specialisation is the real one. A card is a floor and a gate (no spill, 128-bit accesses where the layout has
them), never a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from genfuse_bench.card import Card, read_card
from genfuse_bench.card_calls import all_calls
from genfuse_bench.compiled import standin_driver
from genfuse_bench.cuda_cards import cuda_cards

Calls = Callable[[torch.dtype], Iterator[tuple[str, str, Any]]]

RESULTS = Path(__file__).parents[1] / "results"
TARGETS = (80, 90, 100)
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def triton_card(compiled: Any, kernel: str, case: str, target: str, dtype: torch.dtype) -> Card:
    """The card of a kernel that Triton compiled."""
    threads, shared = compiled.metadata.num_warps * 32, compiled.metadata.shared
    return read_card(compiled.asm["cubin"], "triton", kernel, case, target, dtype, threads, shared)


def cards(
    targets: tuple[int, ...] = TARGETS, dtypes: tuple[torch.dtype, ...] = DTYPES, calls: Calls = all_calls
) -> list[Card]:
    """Compile the calls for every target and read the cards; RuntimeError under TRITON_INTERPRET."""
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        raise RuntimeError("TRITON_INTERPRET is set; cards need the compiler: start a process without it")
    found = []
    for target in targets:
        with standin_driver(target):
            for dtype in dtypes:
                for kernel, case, binary in calls(dtype):
                    found.append(triton_card(binary, kernel, case, f"sm_{target}", dtype))
    return found


def markdown(rows: list[Card]) -> str:
    """The cards as a table."""
    lines = [
        "# Kernel cards",
        "",
        "Read from binaries compiled offline, on no GPU: `python -m genfuse_bench.cards`. Loads and stores are",
        "instructions by bits a thread moves; read-only: what a CUDA kernel reads of a sample beside its images.",
        "None of this is a time.",
        "",
        "| backend | kernel | case | target | dtype | registers | spill, local (bytes) | shared (bytes) "
        "| occupancy | tensor cores | loads | stores | read-only | instructions |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        loads, stores, read_only = (
            ", ".join(f"{count}×{width}" for width, count in widths.items())
            for widths in (row.loads, row.stores, row.read_only)
        )
        lines.append(
            f"| {row.backend} | {row.kernel} | {row.case} | {row.target} | {row.dtype} | {row.registers} "
            f"| {row.spill_bytes}, {row.local_bytes} | {row.shared_bytes} | {row.occupancy:.0%} "
            f"| {row.tensor_core} | {loads} | {stores} | {read_only} | {row.instructions} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the cards; fail on a spill."""
    rows = [*cards(), *cuda_cards()]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "cards.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    (RESULTS / "cards.md").write_text(markdown(rows))
    spilled = [
        f"{row.backend}: {row.kernel} ({row.case}) {row.target} {row.dtype}" for row in rows if row.spills
    ]
    if spilled:
        raise SystemExit(f"spills to local memory: {'; '.join(spilled)}")


if __name__ == "__main__":
    main()
