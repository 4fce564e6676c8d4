"""`genfuse bench conv_norm_act`: fused units, and networks of them, beside what a user has today."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from genfuse_bench import sections as workloads
from genfuse_bench.conv_norm_act import DTYPES, UnitRow, unit_rows
from genfuse_bench.machine import Machine
from genfuse_bench.module_peers import MODULE_PEERS
from genfuse_bench.options import some_of
from genfuse_bench.record import Record
from genfuse_bench.sections import SECTIONS
from genfuse_bench.timing import Effort
from genfuse_bench.unit_report import show_units
from genfuse_bench.worker import ALLOCATORS, Local, Measurer, Worker

FULL = Effort(4, 0.8, 12.0, turn=0.05, rest=0.03)
SHORT = Effort(1, 0.05, 0.1, rest=0.03)


def conv_norm_act(
    sections: Annotated[str | None, typer.Option(help=f"Some of {','.join(SECTIONS)}.")] = None,
    peers: Annotated[str | None, typer.Option(help=f"Some of {','.join(MODULE_PEERS)}, or none.")] = None,
    dtype: Annotated[str, typer.Option(help=f"Some of {','.join(DTYPES)}.")] = "float32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of everyone; PyTorch's default if left out.")
    ] = None,
    allocator: Annotated[
        str | None,
        typer.Option(
            help="tuned: glibc keeps freed memory, for everyone; default: as it comes; both, if left out: the better "
            "of them for each peer."
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            help="Rough figures; if nothing else is asked for, of one small unit beside eager PyTorch."
        ),
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Folder that gets conv_norm_act_cpu.jsonl.")] = None,
) -> None:
    """Fused units and networks of them beside PyTorch, OpenVINO, ONNX Runtime, ncnn and MNN, in turn."""
    if threads:
        torch.set_num_threads(threads)
    if allocator not in (*ALLOCATORS, "both", None):
        raise typer.BadParameter(f"{allocator!r}, expected both, tuned or default", param_hint="--allocator")
    wanted = some_of("--sections", sections, SECTIONS, ["quick"] if quick else list(SECTIONS))
    dtypes = [DTYPES[name] for name in some_of("--dtype", dtype, DTYPES, [])]
    console = Console(width=None if sys.stdout.isatty() else 160)
    record = Record(output / "conv_norm_act_cpu.jsonl") if output else None
    machine, effort = Machine.here(), SHORT if quick else FULL
    with_allocator = allocator or ("default" if quick else "both")
    console.print(
        f"{machine}\n{torch.get_num_threads()} threads for everyone; allocator: {with_allocator}",
        highlight=False,
    )
    asked = [] if peers == "none" else some_of("--peers", peers, MODULE_PEERS, _default_peers(quick))
    chosen = _installed(asked, console)
    allocators = ALLOCATORS if with_allocator == "both" else (with_allocator,)
    with _measurers(allocators, alone=quick and allocator is None) as measurers:
        for kind in dtypes:
            peak = max(measurer.peak(kind) for measurer in measurers.values())
            for section in wanted:
                rows: list[UnitRow] = []
                for number in range(workloads.size(section)):
                    rows += unit_rows(measurers, section, number, kind, chosen, peak, effort)
                    if record is not None:  # at once: a later row may take minutes, or be interrupted
                        record.add(rows, machine)
                if rows:
                    show_units(section, rows, console)
    if record is not None:
        console.print(f"-> {record.path}")


@contextmanager
def _measurers(allocators: Collection[str], alone: bool) -> Iterator[dict[str, Measurer]]:
    """A process for each allocator; `alone`, this one as it is."""
    if alone:
        yield {"default": Local()}
        return
    workers = {name: Worker(name, torch.get_num_threads()) for name in allocators}
    try:
        yield dict(workers)
    finally:
        for worker in workers.values():
            worker.close()


def _default_peers(quick: bool) -> list[str]:
    return ["eager"] if quick else list(MODULE_PEERS)


def _installed(names: Collection[str], console: Console) -> list[str]:
    """Those that are installed; a word about each that is not."""
    for name in names:
        missing = MODULE_PEERS[name].missing()
        if missing:
            console.print(f"peer {name}: {missing}", highlight=False, markup=False)
    return [name for name in names if not MODULE_PEERS[name].missing()]
