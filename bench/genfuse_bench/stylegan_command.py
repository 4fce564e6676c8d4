"""`genfuse bench stylegan`: bias_act, upfirdn2d and modulated_conv2d beside plain PyTorch's forms."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.machine import Machine
from genfuse_bench.options import some_of
from genfuse_bench.record import Record
from genfuse_bench.stylegan import CASES, StyleRow, style_row
from genfuse_bench.timing import Effort

FULL, SHORT = Effort(4, 0.5, 4.0), Effort(1, 0.02, 0.05)


def stylegan(
    ops: Annotated[str | None, typer.Option(help=f"Some of {','.join(CASES)}.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of everyone; PyTorch's default if left out.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Rough figures.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder that gets stylegan_cpu.jsonl.")] = None,
) -> None:
    """A style GAN's ops, forwards and with all gradients, float32."""
    if threads:
        torch.set_num_threads(threads)
    wanted = some_of("--ops", ops, CASES, list(CASES))
    console = Console(width=None if sys.stdout.isatty() else 140)
    machine, effort = Machine.here(), SHORT if quick else FULL
    record = Record(output / "stylegan_cpu.jsonl") if output else None
    console.print(
        f"{machine}\n{torch.get_num_threads()} threads for everyone; {keep_freed_memory()}", highlight=False
    )
    for name in wanted:
        rows = []
        for make in CASES[name]:
            torch.manual_seed(0)
            case = make()
            rows += [style_row(case, gradients, effort) for gradients in (False, True)]
        console.print(table_of(rows))
        if record is not None:
            record.add(rows, machine)
    if record is not None:
        console.print(f"-> {record.path}")


def table_of(rows: Sequence[StyleRow]) -> Table:
    """A line a row."""
    table = Table(title="ms (medians)", title_justify="left", pad_edge=False, box=None)
    for heading in ("op", "workload", "pass"):
        table.add_column(heading)
    for heading in ("ours", *rows[0].peers_ms, "× best", "floor", "error", "PyTorch's"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        note = "[red]no speed reported[/]" if row.refused else "[yellow]contended[/]" if row.contended else ""
        numbers = [row.ours_ms, *row.peers_ms.values(), row.ratio, row.floor_ms]
        table.add_row(
            row.op,
            row.workload,
            "with gradients" if row.gradients else "forward",
            *("" if value is None else f"{value:.3g}" for value in numbers),
            f"{row.error:.1e}",
            f"{row.torch_error:.1e}",
            note,
        )
    return table
