"""`genfuse bench tensor_lists`: averages, weight clipping and gradient norms of whole networks beside PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
import typer
from rich.table import Table
from torch import nn

from genfuse import env
from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.diffusion_networks import DIFFUSERS, cifar_unet
from genfuse_bench.gan_networks import dcgan_critic, dcgan_generator
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
from genfuse_bench.session import session
from genfuse_bench.tensor_lists import PEERS, ListRow, list_rows
from genfuse_bench.timing import Effort

FULL, SHORT = Effort(8, 0.4, 12.0), Effort(1, 0.02, 0.05)

NETWORKS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "unet": ("CIFAR-10 U-Net", cifar_unet),
    "generator": ("DCGAN generator", dcgan_generator),
    "critic": ("DCGAN critic", dcgan_critic),
}


def tensor_lists(
    networks: Annotated[str | None, typer.Option(help=f"Some of {','.join(NETWORKS)}.")] = None,
    peers: Annotated[str | None, typer.Option(help=f"Some of {','.join(PEERS)}, or none.")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    cold: Cold = False,
    quick: Quick = False,
    output: Output = None,
    report: Report = None,
) -> None:
    """Passes over all weights or gradients of a network, float32: averages, clipping, the norm."""
    here = [name for name in NETWORKS if name != "unet" or env.version(DIFFUSERS)]
    wanted = some_of("--networks", networks, NETWORKS, here)
    chosen = peers_of(peers, PEERS)
    device_of(device, "cpu")
    effort = effort_of(FULL, SHORT, quick=quick, cold=cold)
    with session("tensor_lists", threads, output, report, says=keep_freed_memory()) as run:
        for name in wanted:
            torch.manual_seed(0)
            rows = list_rows(NETWORKS[name][0], NETWORKS[name][1](), chosen, effort)
            run.console.print(table_of(rows))
            run.add(rows)


def table_of(rows: Sequence[ListRow]) -> Table:
    peers = list(rows[0].peers_ms)
    title = (
        f"{rows[0].workload}, {rows[0].tensors} tensors, {rows[0].elements / 1e6:.1f} million: ms (medians)"
    )
    table = Table(title=title, title_justify="left", pad_edge=False, box=None)
    table.add_column("op")
    for heading in ("ours", *peers, "× best", "floor", "GB/s", "error", "PyTorch's"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        note = "[red]no speed reported[/]" if row.refused else "[yellow]contended[/]" if row.contended else ""
        numbers = [row.ours_ms, *row.peers_ms.values(), row.ratio, row.floor_ms, row.gb_per_s]
        table.add_row(
            row.op,
            *("" if value is None else f"{value:.3g}" for value in numbers),
            f"{row.error:.1e}",
            f"{row.torch_error:.1e}",
            note,
        )
    return table
