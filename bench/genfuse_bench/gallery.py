"""`genfuse bench gallery`: what recorded runs came to, side by side: quality, diversity, time, on the same data."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from genfuse.data.atomic import atomic_path, check_path

SCORES = ("fid", "kid", "precision", "recall", "coverage", "diversity")
"""Of an evaluation, those that are shown: two of quality, two of each side of it, one of modes, one of diversity."""
HEADINGS = ("run", "system", *SCORES, "ms a picture", "training, min")


@dataclass(frozen=True)
class Exhibit:
    """A run: how good its pictures are, and what they took; None for what nobody recorded."""

    run: str
    system: str
    data: str
    scores: dict[str, float | None]
    references: dict[str, float | None]
    """what the real pictures themselves have"""
    milliseconds: float | None
    """that a picture takes, many at a time"""
    seconds: float | None
    """of training"""


def exhibits(evaluations: Path, runs: Path) -> dict[str, list[Exhibit]]:
    """Of each data set (name, pictures, digest), the runs that were evaluated on it, best Fréchet distance first.

    Args:
        evaluations: a folder of reports that `genfuse evaluate CHECKPOINT -o FOLDER/NAME.json` wrote.
        runs: a folder of records as `python -m genfuse_bench.system_record` makes them, ``<run>.json`` each.

    ValueError where there is no report, or a file of these is none.
    """
    found: dict[str, list[Exhibit]] = defaultdict(list)
    for path in sorted(evaluations.glob("*.json")):
        report = _read(path)
        if "system" in report:  # a folder of pictures has none
            one = _exhibit(report, path, runs)
            found[one.data].append(one)
    if not found:
        raise ValueError(
            f"{evaluations} holds no evaluation of a checkpoint: `genfuse evaluate CHECKPOINT -o "
            f"{evaluations}/NAME.json` writes one"
        )
    for several in found.values():
        several.sort(key=lambda one: float("inf") if one.scores["fid"] is None else one.scores["fid"])
    return dict(found)


def _exhibit(report: dict[str, Any], path: Path, runs: Path) -> Exhibit:
    try:
        run, scores, data = Path(report["source"]).name, report["scores"], report["data"]
        record = _read(runs / f"{run}.json") if (runs / f"{run}.json").is_file() else {}
        return Exhibit(
            run=run,
            system=report["system"],
            data=f"{data['name']}, {data['pictures']} pictures, {data['digest'][:8]}",
            scores={name: scores.get(name, {}).get("value") for name in SCORES},
            references={name: scores.get(name, {}).get("reference") for name in SCORES},
            milliseconds=report.get("milliseconds_a_picture"),
            seconds=record.get("seconds"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no report of `genfuse evaluate` ({error!r}): write it anew") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): write it anew") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is {type(found).__name__}, expected an object: write it anew")
    return found


def lines(several: Iterable[Exhibit]) -> list[tuple[str, ...]]:
    """Cells under `HEADINGS`; the last line is what real pictures have."""
    several = list(several)
    rows = [
        (
            one.run,
            one.system,
            *(_number(one.scores[name]) for name in SCORES),
            _number(one.milliseconds),
            _number(None if one.seconds is None else one.seconds / 60),
        )
        for one in several
    ]
    real = several[0].references
    return [*rows, ("real pictures", "", *(_number(real[name]) for name in SCORES), "", "")]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def markdown(found: dict[str, list[Exhibit]]) -> str:
    """A table for each data set."""
    parts = []
    for data, several in found.items():
        rows = [HEADINGS, ("---",) * len(HEADINGS), *lines(several)]
        parts.append(f"On {data}:\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows))
    return "\n".join(parts)


def gallery(
    evaluations: Annotated[
        Path, typer.Option(help="Folder of reports of `genfuse evaluate CHECKPOINT`.")
    ] = Path("bench/results/evaluate"),
    runs: Annotated[Path, typer.Option(help="Folder of records of runs: their training times.")] = Path(
        "bench/results/systems"
    ),
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The tables as Markdown.")] = None,
) -> None:
    """Systems beside one another: quality, diversity, time a picture, training time, of runs on the same data."""
    if output is not None:
        check_path("output", output)
    console = Console(width=None if sys.stdout.isatty() else 160)
    found = exhibits(evaluations, runs)
    for data, several in found.items():
        table = Table(*HEADINGS, title=data, title_justify="left", box=None, pad_edge=False)
        for column in table.columns[2:]:
            column.justify = "right"
        for row in lines(several):
            table.add_row(*row)
        console.print(table)
    if output is not None:
        with atomic_path(output) as temporary:
            temporary.write_text(markdown(found), encoding="utf-8")
        console.print(f"-> {output}", highlight=False)
