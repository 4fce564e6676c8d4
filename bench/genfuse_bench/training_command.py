"""`genfuse bench training`: training steps, and the gradients of convolutions, beside PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import torch
import typer
from rich.table import Table
from torch import nn

from genfuse import env
from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.diffusion_networks import DIFFUSERS
from genfuse_bench.options import (
    Cold,
    Device,
    Output,
    Quick,
    Report,
    Threads,
    device_of,
    effort_of,
    peers_of,
    some_of,
)
from genfuse_bench.own_process import peaks_mb
from genfuse_bench.session import session
from genfuse_bench.timing import Effort
from genfuse_bench.training import LOW, OURS, PEERS, TrainingRow, gradient_rows, step_row
from genfuse_bench.training_memory import prepared
from genfuse_bench.training_networks import NETWORKS, network
from genfuse_bench.training_system import system_row

_OTHERS = ("train_ddpm", "gradients")

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

FULL, SHORT = Effort(4, 1.0, 12.0), Effort(1, 0.05, 0.1)


def _conv(c: int, k: int, kernel: int, stride: int = 1, padding: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c, k, kernel, stride, padding, bias=False)


CONVOLUTIONS: tuple[tuple[str, tuple[int, ...], Callable[[], nn.Conv2d | nn.ConvTranspose2d]], ...] = (
    ("3x3", (8, 128, 32, 32), lambda: _conv(128, 128, 3)),  # a diffusion U-Net's
    ("3x3", (8, 256, 16, 16), lambda: _conv(256, 256, 3)),
    ("3x3", (8, 512, 16, 16), lambda: _conv(512, 256, 3)),
    ("3x3", (8, 256, 8, 8), lambda: _conv(256, 256, 3)),
    ("3x3", (8, 256, 4, 4), lambda: _conv(256, 256, 3)),
    ("3x3 s2", (8, 128, 32, 32), lambda: _conv(128, 128, 3, 2)),
    ("1x1", (8, 256, 16, 16), lambda: _conv(256, 256, 1, 1, 0)),
    ("3x3 from 3", (8, 3, 32, 32), lambda: _conv(3, 128, 3)),
    ("3x3 to 3", (8, 128, 32, 32), lambda: _conv(128, 3, 3)),
    ("4x4 s2", (64, 64, 32, 32), lambda: _conv(64, 128, 4, 2)),  # DCGAN's
    ("transposed 4x4 s2", (64, 256, 8, 8), lambda: nn.ConvTranspose2d(256, 128, 4, 2, 1, bias=False)),
)


def training(
    sections: Annotated[str | None, typer.Option(help=f"Some of {','.join((*NETWORKS, *_OTHERS))}.")] = None,
    peers: Annotated[
        str | None, typer.Option(help=f"Of the steps: some of {','.join(PEERS)}, or none.")
    ] = None,
    dtypes: Annotated[
        str, typer.Option("--dtype", help="Of the steps: float32, bfloat16 or both, as float32,bfloat16.")
    ] = "float32",
    device: Device = "cpu",
    threads: Threads = None,
    cold: Cold = False,
    quick: Quick = False,
    output: Output = None,
    report: Report = None,
) -> None:
    """Training steps of networks, and the two gradients of convolutions in float32, beside PyTorch's."""
    every = [name for name in NETWORKS if not name.startswith("unet") or env.version(DIFFUSERS)]
    wanted = some_of("--sections", sections, (*NETWORKS, *_OTHERS), [*every, *_OTHERS])
    chosen = peers_of(peers, PEERS)
    in_dtypes = [_DTYPES[name] for name in some_of("--dtype", dtypes, tuple(_DTYPES), [])]
    device_of(device, "cpu")
    effort = effort_of(FULL, SHORT, quick=quick, cold=cold)
    with session("training", threads, output, report, says=keep_freed_memory()) as run:
        for section in wanted:
            rows = _rows(section, in_dtypes, chosen, effort, peaks=not quick)
            run.console.print(_table(section, rows))
            run.add(rows)


def _rows(
    section: str, dtypes: Sequence[torch.dtype], peers: Sequence[str], effort: Effort, *, peaks: bool
) -> list[TrainingRow]:
    torch.manual_seed(0)
    if section == "gradients":
        return [
            row for name, shape, make in CONVOLUTIONS for row in gradient_rows(name, shape, make(), effort)
        ]
    if section == "train_ddpm":
        return [system_row(effort)]
    rows = []
    for dtype in dtypes:
        torch._dynamo.reset()
        rows.append(step_row(*network(section), peers, effort, dtype))
        if peaks:
            who = (OURS, LOW, *(peer for peer in peers if peer != "compile"))
            rows[-1] = replace(rows[-1], peak_mb=peaks_mb(prepared, who, section, dtype))
    return rows


def _table(section: str, rows: Sequence[TrainingRow]) -> Table:
    """Times, ratio, what is kept, errors."""
    peers = list(dict.fromkeys(name for row in rows for name in row.peers_ms))
    table = Table(title=f"{section}: ms (medians)", title_justify="left", pad_edge=False, box=None)
    for heading in ("op", "workload", "shape", "dtype"):
        table.add_column(heading)
    for heading in (
        "ours",
        "low",
        *peers,
        "× best",
        "kept MB",
        "low",
        "of eager's",
        "peak MB",
        "error",
        "PyTorch's",
    ):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        kept, low, eager = (row.activation_mb.get(who) for who in (OURS, LOW, PEERS[0]))
        memory = (
            *("" if mb is None else f"{mb:.0f}" for mb in (kept, low)),
            f"{kept / eager:.0%}" if kept and eager else "",
            "/".join(f"{mb:.0f}" for mb in row.peak_mb.values()),
        )
        times = [row.ours_ms, row.low_ms, *(row.peers_ms.get(name) for name in peers), row.ratio]
        note = "[red]no speed reported[/]" if row.refused else "[yellow]contended[/]" if row.contended else ""
        table.add_row(
            row.op,
            row.workload,
            "×".join(map(str, row.shape)),
            row.dtype,
            *("" if value is None else f"{value:.3g}" for value in times),
            *memory,
            f"{row.error:.1e}",
            f"{row.torch_error:.1e}",
            note,
        )
    return table
