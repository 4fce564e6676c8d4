"""`genfuse bench spectral_norm`: spectral norm of whole critics beside PyTorch's parametrisation."""

from __future__ import annotations

from typing import Annotated

import torch
import typer

from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.list_command import FULL, SHORT, table_of
from genfuse_bench.options import Cold, Device, Output, Quick, Report, Threads, device_of, effort_of, some_of
from genfuse_bench.session import session
from genfuse_bench.spectral_norm import CRITICS, spectral_row


def spectral_norm(
    critics: Annotated[str | None, typer.Option(help=f"Some of {','.join(CRITICS)}.")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    cold: Cold = False,
    quick: Quick = False,
    output: Output = None,
    report: Report = None,
) -> None:
    """Spectral norm of all layers of a critic, with the weights' gradients, float32."""
    wanted = some_of("--critics", critics, CRITICS, list(CRITICS))
    device_of(device, "cpu")
    effort = effort_of(FULL, SHORT, quick=quick, cold=cold)
    with session("spectral_norm", threads, output, report, says=keep_freed_memory()) as run:
        for name in wanted:
            torch.manual_seed(0)
            rows = [spectral_row(CRITICS[name][0], CRITICS[name][1](), effort)]
            run.console.print(table_of(rows))
            run.add(rows)
