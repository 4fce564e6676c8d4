"""`genfuse bench quality`: quality against time, by sampler and steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from itertools import product
from typing import Annotated

import typer
from rich.table import Table

from genfuse.samplers import registry
from genfuse_bench.options import (
    Cold,
    Device,
    Output,
    Quick,
    Report,
    Threads,
    device_of,
    effort_of,
    numbers_of,
    some_of,
)
from genfuse_bench.quality import SAMPLERS, STEPS, Distances, QualityRow, Subject, quality_row, timed
from genfuse_bench.record import Record
from genfuse_bench.session import session
from genfuse_bench.timing import Effort

FULL, SHORT = Effort(6, 0.0, 150.0, turn=0.0), Effort(1, 0.0, 0.0, turn=0.0)


def quality(
    samplers: Annotated[str, typer.Option(help="Some of what `genfuse samplers` lists.")] = ",".join(
        SAMPLERS
    ),
    steps: Annotated[str, typer.Option(help="Some numbers.")] = ",".join(map(str, STEPS)),
    count: Annotated[int, typer.Option("--count", "-n", min=6, help="Pictures of each.")] = 500,
    guidance: Annotated[float, typer.Option(help="Of both classes of pictures; 1 is none.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Picture i has seed SEED + i.")] = 0,
    times: Annotated[
        bool, typer.Option(help="Whether times are measured, too: best on a machine that is quiet meanwhile.")
    ] = True,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Distances of as many pictures that --output has are not computed again."
        ),
    ] = False,
    device: Device = "cpu",
    threads: Threads = None,
    cold: Cold = False,
    quick: Quick = False,
    output: Output = None,
    report: Report = None,
) -> None:
    """The shipped checkpoint's FID by sampler and steps, by the project's own extractor, and milliseconds a picture."""
    names = some_of("--samplers", samplers, registry.names(), SAMPLERS)
    numbers = numbers_of("--steps", steps)
    device_of(device, "cpu")
    count = min(count, 32) if quick else count
    subject, effort = Subject.shipped(guidance, seed), effort_of(FULL, SHORT, quick=quick, cold=cold)
    with session("quality", threads, output, report, says=subject.name) as run:
        kept = _kept(run.record, subject, count) if run.record and keep else {}
        rows, distances = list(kept.values()), None
        for name, number in product(names, numbers):
            if (name, number) in kept:
                continue
            try:
                distances = distances or Distances(count, seed)
                rows.append(quality_row(subject, distances, name, number, count))
            except ValueError as error:  # a solver that has no such schedule; or too few real pictures
                run.console.print(f"{name}, {number} steps: {error}", highlight=False, markup=False)
                continue
            run.add(rows[-1:])
        rows = [row for row in rows if row.solver in names and row.steps in numbers]
        if times and rows:
            rows = timed(subject, rows, effort)
            run.add(rows)
        run.console.print(_table(rows))


def _kept(record: Record, subject: Subject, count: int) -> dict[tuple[str, int], QualityRow]:
    """Of the same pictures: distances do not depend on who measures them, or when."""
    found = {}
    names = {each.name for each in fields(QualityRow)}
    for line in map(json.loads, record.lines):
        if line["op"] == "quality" and (line["workload"], line["count"], line["seed"]) == (
            subject.name,
            count,
            subject.seed,
        ):
            row = QualityRow(
                **{name: line[name] for name in names} | {"shape": tuple(line["shape"]), "timing": None}
            )
            found[row.solver, row.steps] = row
    return found


def _table(rows: Sequence[QualityRow]) -> Table:
    title = f"{rows[0].count} pictures each; as many real ones: {rows[0].real_fid:.3g}" if rows else "nothing"
    table = Table(title=title, title_justify="left", pad_edge=False, box=None)
    table.add_column("sampler")
    for heading in ("steps", "evaluations", "FID", "ms a picture", "error", "PyTorch's"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        note = "[red]no speed reported[/]" if row.refused else "[yellow]contended[/]" if row.contended else ""
        time = "" if row.ours_ms is None else f"{row.ours_ms / row.shape[0]:.3g}"
        errors = (f"{error:.1e}" for error in (row.error, row.torch_error))
        table.add_row(row.solver, str(row.steps), str(row.evaluations), f"{row.fid:.3g}", time, *errors, note)
    return table
