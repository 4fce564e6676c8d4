"""`genfuse bench gradient_penalty`: penalties and critic steps by one tangent pass, beside double backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
import typer
from rich.table import Table

from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.critics import SECTIONS
from genfuse_bench.gemm_peak import gemm_peak
from genfuse_bench.gradient_penalty import COMPILED, OURS, STEP_PEERS, PenaltyRow, penalty_rows, prepared
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
    peers_of,
    some_of,
)
from genfuse_bench.own_process import peaks_mb
from genfuse_bench.session import session
from genfuse_bench.timing import Effort

FULL, SHORT = Effort(4, 1.0, 12.0), Effort(1, 0.05, 0.1)


def gradient_penalty(
    sections: Annotated[str | None, typer.Option(help=f"Some of {','.join(SECTIONS)}.")] = None,
    peers: Annotated[str | None, typer.Option(help=f"Some of {','.join(STEP_PEERS)}, or none.")] = None,
    batch: Annotated[str, typer.Option(help="Pictures of each kind, some numbers.")] = "16,64",
    device: Device = "cpu",
    threads: Threads = None,
    cold: Cold = False,
    quick: Quick = False,
    output: Output = None,
    report: Report = None,
) -> None:
    """WGAN-GP's penalty with its weight gradients, and whole critic steps, float32."""
    wanted = some_of("--sections", sections, SECTIONS, list(SECTIONS))
    chosen = peers_of(peers, STEP_PEERS)
    eager = [name for name in chosen if name != COMPILED]
    batches = numbers_of("--batch", batch)
    device_of(device, "cpu")
    effort = effort_of(FULL, SHORT, quick=quick, cold=cold)
    with session("gradient_penalty", threads, output, report, says=keep_freed_memory()) as run:
        peak = gemm_peak(torch.float32)
        run.console.print(f"the floor is all passes' products at the machine's best, {peak:.0f} GFLOP/s")
        for section in wanted:
            rows: list[PenaltyRow] = []
            for name, (make, side) in SECTIONS[section].items():
                for pictures in batches:
                    torch.manual_seed(0)
                    made = penalty_rows(name, make(), side, pictures, chosen, effort, peak)
                    if not quick:
                        made[0] = replace(
                            made[0], peak_mb=peaks_mb(prepared, (OURS, *eager), section, name, pictures)
                        )
                    rows += made
                    run.add(made)
            run.console.print(_table(section, rows))


def _table(section: str, rows: Sequence[PenaltyRow]) -> Table:
    peers = list(dict.fromkeys(name for row in rows for name in row.peers_ms))
    table = Table(title=f"{section}: ms (medians)", title_justify="left", pad_edge=False, box=None)
    for heading in ("op", "critic", "shape"):
        table.add_column(heading)
    for heading in ("ours", *peers, "× best", "bar", "passes", "floor", "peak MB", "error", "PyTorch's"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        notes = [f"{name}: {why}" for name, why in row.failed.items()]
        if row.refused:
            notes.append("[red]no speed reported[/]")
        elif row.contended:
            notes.append("[yellow]contended[/]")
        times = [row.ours_ms, *(row.peers_ms.get(name) for name in peers), row.ratio, row.bar]
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
            "; ".join(notes),
        )
    return table
