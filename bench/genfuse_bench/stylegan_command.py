"""`genfuse bench stylegan`: bias_act, upfirdn2d and modulated_conv2d beside plain PyTorch's forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import typer
from rich.table import Table

from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.options import Cold, Device, Output, Quick, Report, Threads, device_of, effort_of, some_of
from genfuse_bench.session import session
from genfuse_bench.stylegan import CASES, StyleRow, style_row
from genfuse_bench.timing import Effort

FULL, SHORT = Effort(4, 0.5, 4.0), Effort(1, 0.02, 0.05)


def stylegan(
    ops: Annotated[str | None, typer.Option(help=f"Some of {','.join(CASES)}.")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    cold: Cold = False,
    quick: Quick = False,
    output: Output = None,
    report: Report = None,
) -> None:
    """A style GAN's ops, forwards and with all gradients, float32."""
    wanted = some_of("--ops", ops, CASES, list(CASES))
    device_of(device, "cpu")
    effort = effort_of(FULL, SHORT, quick=quick, cold=cold)
    with session("stylegan", threads, output, report, says=keep_freed_memory()) as run:
        for name in wanted:
            rows = []
            for make in CASES[name]:
                torch.manual_seed(0)
                case = make()
                rows += [style_row(case, gradients, effort) for gradients in (False, True)]
            run.console.print(table_of(rows))
            run.add(rows)


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
