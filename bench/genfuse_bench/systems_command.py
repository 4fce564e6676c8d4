"""`genfuse bench systems`: a training step and a batch of samples of each system beside plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import typer
from rich.markup import escape
from rich.table import Table

from genfuse import systems as registry
from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.options import Cold, Device, Output, Quick, Report, Threads, device_of, effort_of, some_of
from genfuse_bench.session import session
from genfuse_bench.system_step import EAGER, OURS, WHO
from genfuse_bench.systems import Case, system_rows
from genfuse_bench.timing import Effort
from genfuse_bench.training import TrainingRow

PEERS = WHO[1:]
FULL, SHORT = Effort(3, 3.0, 45.0), Effort(1, 0.05, 0.1)


def systems(
    names: Annotated[
        str | None, typer.Option("--systems", help=f"Some of {','.join(registry.NAMES)}.")
    ] = None,
    peers: Annotated[str | None, typer.Option(help=f"Some of {','.join(PEERS)}.")] = None,
    size: Annotated[int, typer.Option(min=8, help="Height and width of the pictures.")] = 32,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Samples a training batch; each system's own if left out.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
    cold: Cold = False,
    quick: Quick = False,
    output: Output = None,
    report: Report = None,
) -> None:
    """One training step and one batch of samples of each system, float32, beside the same in plain PyTorch.

    The same file of the system runs on torch.nn's modules, PyTorch's functions and double backward: eager in both
    memory formats, and compiled. Exits with 1 where a system could not be measured.
    """
    wanted = some_of("--systems", names, registry.NAMES, registry.NAMES)
    chosen = some_of("--peers", peers, PEERS, PEERS)
    device_of(device, "cpu")
    effort = effort_of(FULL, SHORT, quick=quick, cold=cold)
    failed: list[str] = []
    with session("systems", threads, output, report, says=keep_freed_memory()) as run:
        for name in wanted:
            torch._dynamo.reset()
            case = Case(name, size, batch or (8 if quick else None), *((8,) if quick else ()))
            with run.console.status(name):
                try:
                    rows = system_rows(case, chosen, effort, peaks=not quick, tell=run.console.print)
                except Exception as reason:  # the others are measured all the same
                    run.console.print(f"[red]{name} is not measured:[/] {escape(repr(reason))}")
                    failed.append(name)
                    continue
            run.console.print(_table(name, rows))
            run.add(rows)
    if failed:
        raise typer.Exit(1)


def _table(name: str, rows: Sequence[TrainingRow]) -> Table:
    """Times, ratio, memory."""
    peers = list(dict.fromkeys(peer for row in rows for peer in row.peers_ms))
    table = Table(title=f"{name}: ms (medians)", title_justify="left", pad_edge=False, box=None)
    for heading in ("op", "shape"):
        table.add_column(heading)
    for heading in ("ours", *peers, "× best", "kept MB", "of eager's", "peak MB", "error"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        kept, eager = (row.activation_mb.get(who) for who in (OURS, EAGER))
        times = [row.ours_ms, *(row.peers_ms.get(peer) for peer in peers), row.ratio]
        note = "[red]no speed reported[/]" if row.refused else "[yellow]contended[/]" if row.contended else ""
        table.add_row(
            row.op,
            "×".join(map(str, row.shape)),
            *("" if value is None else f"{value:.3g}" for value in times),
            "" if kept is None else f"{kept:.1f}",
            f"{kept / eager:.0%}" if kept and eager else "",
            "/".join(f"{mb:.0f}" for mb in row.peak_mb.values()),
            f"{row.error:.1e}",
            note,
        )
    return table
