"""`genfuse bench compare`: what changed between two measurements, for the eye and for anyone's CI."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from genfuse_bench.compare import ACCEPTED, FASTER, REFUSED, SLOWER, UNSURE, Change, Comparison
from genfuse_bench.compare import compare as changes_between
from genfuse_bench.measurement import Interval
from genfuse_bench.results import load

COLOURS = {SLOWER: "red", REFUSED: "red", FASTER: "green", ACCEPTED: "green", UNSURE: "yellow"}

BY = ("ratio", "time")

SHOWN = 5
"""Cases without a counterpart that are named."""


def compare(
    before: Annotated[
        str, typer.Argument(help="A results file, a folder of them, a git revision, or REVISION:PATH.")
    ],
    after: Annotated[str, typer.Argument(help="Likewise.")],
    threshold: Annotated[
        float, typer.Option(min=0.0, help="A median that moved by less, as a share, has not changed.")
    ] = 0.05,
    by: Annotated[
        str,
        typer.Option(
            help="ratio: to a competitor that both measured, so that machines may differ; time: as it is."
        ),
    ] = "ratio",
    everything: Annotated[bool, typer.Option("--all", help="Rows that did not change, too.")] = False,
) -> None:
    """What is faster, slower or no longer right, beyond the noise of both measurements.

    Exits with 1 where anything is slower or no longer right, with 0 where nothing is, with 2 where there is nothing to
    compare.
    """
    if by not in BY:
        raise typer.BadParameter(f"{by!r}, expected {' or '.join(BY)}", param_hint="--by")
    try:
        found = changes_between(load(before), load(after), threshold, by=by)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = Console(width=None if sys.stdout.isatty() else 160)
    shown = found.changes if everything else found.of(*COLOURS)
    if shown:
        console.print(_table(shown, f"{before} -> {after}"))
    for line in _words(found, threshold):
        console.print(line, highlight=False, markup=False)
    if found.regressed:
        raise typer.Exit(1)


def _table(changes: Sequence[Change], title: str) -> Table:
    """The worst first."""
    table = Table(title=title, title_justify="left", pad_edge=False, box=None)
    for heading in ("op", "case", "what"):
        table.add_column(heading, overflow="fold")
    for heading in ("before, µs", "after, µs", "time", "between", "against"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for change in sorted(changes, key=lambda change: -(change.factor.median if change.factor else 1e9)):
        colour = COLOURS.get(change.verdict, "dim")
        table.add_row(
            change.op,
            change.label,
            change.who,
            *(_number(us) for us in (change.before, change.after)),
            *_factor(change.factor),
            change.control or "time",
            f"[{colour}]{change.verdict}[/]" + (", contended" if change.contended else ""),
        )
    return table


def _words(found: Comparison, threshold: float) -> list[str]:
    """Counts, and what a reader has to know to believe them."""
    counts = [f"{len(found.of(verdict))} {verdict}" for verdict in COLOURS if found.of(verdict)]
    lines = [f"{len(found.changes)} compared, threshold {threshold:.0%}: {', '.join(counts) or 'no change'}"]
    if found.of(UNSURE):
        lines.append("unsure: moved, but of too few rounds to tell; measure longer")
    for name, (old, new) in found.versions.items():
        lines.append(f"{name} was {old}, is {new}: a competitor may have changed")
    if found.machines:
        lines.append(f"machines differ: {found.machines[0]}; {found.machines[1]}")
    for which, cases in (("before only", found.missing), ("after only", found.new)):
        more = f" and {len(cases) - SHOWN} more" if len(cases) > SHOWN else ""
        lines += [f"{which}: {'; '.join(cases[:SHOWN])}{more}"] if cases else []
    return lines


def _number(us: Interval | None) -> str:
    return "" if us is None else f"{us.median:.4g}"


def _factor(factor: Interval | None) -> tuple[str, str]:
    if factor is None:
        return "", ""
    low, middle, high = (f"{100 * (each - 1):+.1f}" for each in factor)
    return f"{middle} %", f"{low} to {high}"
