"""`genfuse bench spectral_norm`: spectral norm of whole critics beside PyTorch's parametrisation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.list_command import FULL, SHORT, table_of
from genfuse_bench.machine import Machine
from genfuse_bench.options import some_of
from genfuse_bench.record import Record
from genfuse_bench.spectral_norm import CRITICS, spectral_row


def spectral_norm(
    critics: Annotated[str | None, typer.Option(help=f"Some of {','.join(CRITICS)}.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of everyone; PyTorch's default if left out.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Rough figures.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder that gets spectral_norm_cpu.jsonl.")] = None,
) -> None:
    """Spectral norm of all layers of a critic, with the weights' gradients, float32."""
    if threads:
        torch.set_num_threads(threads)
    wanted = some_of("--critics", critics, CRITICS, list(CRITICS))
    console = Console(width=None if sys.stdout.isatty() else 140)
    machine, effort = Machine.here(), SHORT if quick else FULL
    record = Record(output / "spectral_norm_cpu.jsonl") if output else None
    console.print(
        f"{machine}\n{torch.get_num_threads()} threads for everyone; {keep_freed_memory()}", highlight=False
    )
    for name in wanted:
        torch.manual_seed(0)
        rows = [spectral_row(CRITICS[name][0], CRITICS[name][1](), effort)]
        console.print(table_of(rows))
        if record is not None:
            record.add(rows, machine)
    if record is not None:
        console.print(f"-> {record.path}")
