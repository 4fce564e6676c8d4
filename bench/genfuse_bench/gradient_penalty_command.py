"""`genfuse bench gradient_penalty`: penalties and critic steps by one tangent pass, beside double backward."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.critics import SECTIONS
from genfuse_bench.gemm_peak import gemm_peak
from genfuse_bench.gradient_penalty import PEERS, PenaltyRow, peaks_mb, penalty_rows
from genfuse_bench.machine import Machine
from genfuse_bench.options import some_of
from genfuse_bench.record import Record
from genfuse_bench.timing import Effort

FULL, SHORT = Effort(4, 1.0, 12.0), Effort(1, 0.05, 0.1)


def gradient_penalty(
    sections: Annotated[str | None, typer.Option(help=f"Some of {','.join(SECTIONS)}.")] = None,
    peers: Annotated[str | None, typer.Option(help=f"Some of {','.join(PEERS)}, or none.")] = None,
    batch: Annotated[str, typer.Option(help="Pictures of each kind, some numbers.")] = "16,64",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of everyone; PyTorch's default if left out.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Rough figures, no memory.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder that gets gradient_penalty_cpu.jsonl.")] = None,
) -> None:
    """WGAN-GP's penalty with its weight gradients, and whole critic steps, float32."""
    if threads:
        torch.set_num_threads(threads)
    wanted = some_of("--sections", sections, SECTIONS, list(SECTIONS))
    chosen = [] if peers == "none" else some_of("--peers", peers, PEERS, PEERS)
    batches = batches_of(batch)
    console = Console(width=None if sys.stdout.isatty() else 160)
    machine, effort = Machine.here(), SHORT if quick else FULL
    record = Record(output / "gradient_penalty_cpu.jsonl") if output else None
    peak = gemm_peak(torch.float32)
    console.print(
        f"{machine}\n{torch.get_num_threads()} threads for everyone; {keep_freed_memory()}; the floor is all passes' "
        f"products at the machine's best, {peak:.0f} GFLOP/s",
        highlight=False,
    )
    for section in wanted:
        rows: list[PenaltyRow] = []
        for name, (make, side) in SECTIONS[section].items():
            for pictures in batches:
                torch.manual_seed(0)
                made = penalty_rows(name, make(), side, pictures, chosen, effort, peak)
                if effort is FULL:
                    made[0] = replace(made[0], peak_mb=peaks_mb(section, name, pictures, chosen))
                rows += made
        console.print(_table(section, rows))
        if record is not None:
            record.add(rows, machine)
    if record is not None:
        console.print(f"-> {record.path}")


def batches_of(listed: str) -> list[int]:
    """The numbers between commas."""
    found = [int(part) if part.strip().isdecimal() else 0 for part in listed.split(",")]
    if min(found) < 1:
        raise typer.BadParameter(
            f"{listed!r} is no list of numbers of pictures, as 16,64", param_hint="--batch"
        )
    return found


def _table(section: str, rows: Sequence[PenaltyRow]) -> Table:
    peers = list(rows[0].peers_ms)
    table = Table(title=f"{section}: ms (medians)", title_justify="left", pad_edge=False, box=None)
    for heading in ("op", "critic", "shape"):
        table.add_column(heading)
    for heading in ("ours", *peers, "× best", "passes", "floor", "peak MB", "error", "PyTorch's"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        note = "[red]no speed reported[/]" if row.refused else "[yellow]contended[/]" if row.contended else ""
        times = [row.ours_ms, *row.peers_ms.values(), row.ratio]
        table.add_row(
            row.op,
            row.workload,
            "x".join(map(str, row.shape)),
            *("" if value is None else f"{value:.3g}" for value in times),
            str(row.passes),
            f"{row.floor_ms:.3g}",
            "/".join(f"{mb:.0f}" for mb in row.peak_mb.values()),
            f"{row.error:.1e}",
            f"{row.torch_error:.1e}",
            note,
        )
    return table
