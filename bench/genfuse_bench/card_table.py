"""The cards as Markdown: what is beyond the bars, then every card."""

from __future__ import annotations

from collections import defaultdict

from genfuse_bench import card_bars
from genfuse_bench.card import Card
from genfuse_bench.peaks import PEAKS

_HEADER = """# Kernel cards

Read from binaries compiled offline, on no GPU: `make cards`. **None of this is a time**: floors are lower bounds from
data sheets (`bench/genfuse_bench/peaks.py`), in microseconds at the call's own shapes, of one or two pictures. What
each column means is in `bench/genfuse_bench/cards.py`; the bars are in `bench/genfuse_bench/card_bars.py`.
"""

_COLUMNS = (
    "backend",
    "kernel",
    "case",
    "target",
    "dtype",
    "registers",
    "spill, local (bytes)",
    "shared (bytes)",
    "occupancy, limiter",
    "tensor cores",
    "loads",
    "stores",
    "read-only",
    "128 bits",
    "instructions",
    "special",
    "requested, touched (over the minimum)",
    "minimum (bytes)",
    "whole call",
    "FLOP/byte",
    "roofline floor (µs)",
    "issue, special floors (µs)",
)


def markdown(rows: list[Card]) -> str:
    """All of it."""
    peaks = ", ".join(f"{target} {of.name} ({of.memory / 1e12:.2f} TB/s)" for target, of in PEAKS.items())
    table = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS)), *(_line(_cells(row)) for row in rows)]
    lines = [_HEADER, f"Targets: {peaks}.", "", *_older(rows), *_beyond(rows), "## Cards", "", *table]
    return "\n".join(lines) + "\n"


def _line(cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"  # type: ignore[call-overload]


def _older(rows: list[Card]) -> list[str]:
    """How many cards lack columns that are younger than they are; gone once all have been made again."""
    older = sum(row.older for row in rows)
    unrecorded = sum(not row.minimum for row in rows)
    lines = []
    if older:
        lines += [
            f"{older} of {len(rows)} cards are older than the columns of special instructions, of issue, and of the",
            "kind of tensor-core instruction on sm_90 and sm_100, which are empty there until `make cards` has run.",
            "",
        ]
    if unrecorded:
        lines += [f"Of {unrecorded} cards no call has been recorded: no bytes, no floors.", ""]
    return lines


def _beyond(rows: list[Card]) -> list[str]:
    """Cards that miss a bar, by reason, those of one kernel and case together."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for card in rows:
        for missed in card_bars.missed(card):
            reason = card_bars.excuse(card, missed) or "No reason is known"
            what = f"{card.backend} {card.kernel} ({card.case}): {missed}"
            found[reason][what].append(f"{card.target} {card.dtype}")
    lines = ["## Beyond the bars", ""]
    for reason, cards in found.items():
        lines += [reason, "", *(f"- {what} ({', '.join(of)})" for what, of in cards.items()), ""]
    return lines if found else [*lines, "None.", ""]


def _cells(card: Card) -> list[str]:
    loads, stores, read_only = (
        ", ".join(f"{count}×{width}" for width, count in widths.items())
        for widths in (card.loads, card.stores, card.read_only)
    )
    exempt = card_bars.exemption(card)
    tensor = f"{card.tensor_core} {card.tensor_instruction}".strip()
    return [
        card.backend,
        card.kernel,
        card.case,
        card.target,
        card.dtype,
        str(card.registers),
        f"{card.spill_bytes}, {card.local_bytes}",
        str(card.shared_bytes),
        f"{card.occupancy:.0%}, {card.limiter}",
        f"{tensor} (exempt: {exempt})" if exempt else tensor,
        loads,
        stores,
        read_only,
        f"{card.wide:.0%}",
        str(card.instructions),
        "" if card.special is None else str(card.special),
        *_recorded(card),
    ]


def _recorded(card: Card) -> list[str]:
    if not card.minimum:
        return [""] * 6
    floors = card.floors
    roofline = max(("memory", "arithmetic"), key=lambda name: floors[name])
    rest = (f"{floors[name]:.3g}" if name in floors else "?" for name in ("issue", "special"))
    return [
        f"{card.requested / card.minimum:.3f}, {card.touched / card.minimum:.3f}",
        str(card.minimum),
        f"{card.call_touched / card.call_minimum:.3f}" if card.call_minimum else "",
        f"{card.flops / card.minimum:.1f}" if card.flops else "",
        f"{floors[roofline]:.3g} ({roofline})",
        ", ".join(rest),
    ]
