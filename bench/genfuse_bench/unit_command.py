"""`genfuse bench conv_norm_act`: fused units, and networks of them, beside what a user has today."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.conv_norm_act import (
    UnitRow,
    Workload,
    diffusion,
    networks,
    transposed,
    units,
    workload_row,
)
from genfuse_bench.machine import Machine
from genfuse_bench.module_peers import MODULE_PEERS, ModulePeer
from genfuse_bench.record import Record
from genfuse_bench.timing import Effort

SECTIONS: dict[str, Callable[[], Iterator[Workload]]] = {
    "units": units,
    "transposed": transposed,
    "networks": networks,
    "diffusion": diffusion,
}


def conv_norm_act(
    sections: Annotated[str, typer.Option(help=f"Some of {','.join(SECTIONS)}.")] = ",".join(SECTIONS),
    peers: Annotated[str, typer.Option(help=f"Some of {','.join(MODULE_PEERS)}, or none.")] = ",".join(
        MODULE_PEERS
    ),
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of everyone; PyTorch's default if left out.")
    ] = None,
    allocator: Annotated[
        str, typer.Option(help="tuned: glibc keeps freed memory, for everyone; default: as it comes.")
    ] = "tuned",
    quick: Annotated[bool, typer.Option(help="Seconds: one small unit beside eager PyTorch.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder that gets conv_norm_act_cpu.jsonl.")] = None,
) -> None:
    """Fused units and networks of them beside PyTorch, OpenVINO and ONNX Runtime, one process, in turn."""
    if threads:
        torch.set_num_threads(threads)
    if allocator not in ("tuned", "default"):
        raise typer.BadParameter(f"{allocator!r}, expected tuned or default", param_hint="--allocator")
    console = Console(width=None if sys.stdout.isatty() else 140)
    record = Record(output / "conv_norm_act_cpu.jsonl") if output else None
    machine = Machine.here()
    words = keep_freed_memory() if allocator == "tuned" else "allocator as it is"
    console.print(f"{machine}\n{torch.get_num_threads()} threads for everyone; {words}", highlight=False)
    torch.manual_seed(0)
    if quick:
        rows = [workload_row(w, [MODULE_PEERS["eager"]], Effort(1, 0.05, 0.1)) for w in units([(1, 32, 8)])]
        _show("units", rows, console)
        return
    chosen = _peers(peers, console)
    for name in _names("--sections", sections, SECTIONS):
        rows = [
            workload_row(workload, chosen, Effort(4, 0.8, 12.0, turn=0.05, rest=0.03))
            for workload in SECTIONS[name]()
        ]
        _show(name, rows, console)
        if record is not None:
            record.add(rows, machine)
    if record is not None:
        console.print(f"-> {record.path}")


def _peers(text: str, console: Console) -> list[ModulePeer]:
    """Those that are installed; a word about each that is not."""
    chosen = []
    for name in [] if text == "none" else _names("--peers", text, MODULE_PEERS):
        missing = MODULE_PEERS[name].missing()
        if missing:
            console.print(f"peer {name}: {missing}", highlight=False)
        else:
            chosen.append(MODULE_PEERS[name])
    return chosen


def _names(option: str, text: str, known: Collection[str]) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}", param_hint=option)
    return names


def _show(section: str, rows: Sequence[UnitRow], console: Console) -> None:
    peers = list(dict.fromkeys(name for row in rows for name in row.peers_ms))
    table = Table(
        title=f"{section}: ms a call (medians), float32", title_justify="left", pad_edge=False, box=None
    )
    for heading in (
        "workload",
        "shape",
        "ours",
        "planar",
        "guarded",
        *peers,
        "× best",
        "GFLOP/s",
        "error",
        "",
    ):
        table.add_column(heading, justify="left" if heading in ("workload", "shape", "") else "right")
    for row in rows:
        times = [_number(row.peers_ms.get(name)) for name in peers]
        note = "[red]no speed reported[/]" if row.refused else "[yellow]contended[/]" if row.contended else ""
        shape = "×".join(map(str, row.shape))
        ours = (_number(row.ours_ms), _number(row.planar_ms), _number(row.guarded_ms))
        table.add_row(
            row.workload,
            shape,
            *ours,
            *times,
            _number(row.ratio),
            _number(row.gflops),
            f"{row.error:.1e}",
            note,
        )
    console.print(table)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
