"""A run of a bench: what it says first, where its rows go, what it leaves behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import typer
from rich.console import Console

from genfuse_bench.energy import absence
from genfuse_bench.machine import Machine
from genfuse_bench.record import Record, Row, json_line
from genfuse_bench.report_command import write
from genfuse_bench.results import read

_CPU = torch.device("cpu")


@dataclass
class Session:
    """A console, and every row so far."""

    console: Console
    machine: Machine
    record: Record | None
    lines: list[str] = field(default_factory=list)

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows down at once: the next may take minutes, or be interrupted."""
        self.lines += [json_line(row, self.machine) for row in rows]
        if self.record is not None:
            self.record.add(rows, self.machine)


@contextmanager
def session(
    name: str,
    threads: int | None,
    output: Path | None,
    report: Path | None,
    *,
    device: torch.device = _CPU,
    says: str = "",
    width: int = 160,
) -> Iterator[Session]:
    """`output`'s file is `name`_<device>.jsonl; `says` is the bench's own part of the first lines."""
    if threads:
        torch.set_num_threads(threads)
    console = Console(width=None if sys.stdout.isatty() else width)
    run = Session(console, Machine.here(), _record(output, f"{name}_{device.type}.jsonl"))
    energy = absence(device)
    words = [f"{torch.get_num_threads()} threads for everyone", says]
    words += [f"no energy: {energy}" if energy else "energy is measured"]
    console.print(
        f"{run.machine}\n{'; '.join(word for word in words if word)}", highlight=False, markup=False
    )
    yield run
    if run.record is not None:
        console.print(f"-> {run.record.path}", highlight=False)
    if report is not None:
        write(read(run.lines, name), (), report)
        console.print(f"-> {report}", highlight=False)


def _record(folder: Path | None, name: str) -> Record | None:
    if folder is None:
        return None
    try:
        return Record(folder / name)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(
            f"{folder / name} cannot be added to: {error}", param_hint="--output"
        ) from None
