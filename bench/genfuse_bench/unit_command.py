"""`genfuse bench conv_norm_act`: fused units, and networks of them, beside what a user has today."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
import typer
from rich.console import Console

from genfuse_bench import sections as workloads
from genfuse_bench.conv_norm_act import DTYPES, UnitRow, unit_rows, with_peak
from genfuse_bench.module_peers import MODULE_PEERS
from genfuse_bench.options import (
    Cold,
    Device,
    Output,
    Quick,
    Report,
    Threads,
    device_of,
    effort_of,
    shapes_of,
    some_of,
)
from genfuse_bench.sections import SECTIONS
from genfuse_bench.session import session
from genfuse_bench.timing import Effort
from genfuse_bench.unit_report import show_units
from genfuse_bench.worker import ALLOCATORS, Local, Measurer, Worker

FULL = Effort(4, 0.8, 12.0, turn=0.05, rest=0.03)
SHORT = Effort(1, 0.05, 0.1, rest=0.03)


def conv_norm_act(
    sections: Annotated[str | None, typer.Option(help=f"Some of {','.join(SECTIONS)}.")] = None,
    peers: Annotated[str | None, typer.Option(help=f"Some of {','.join(MODULE_PEERS)}, or none.")] = None,
    dtype: Annotated[str, typer.Option(help=f"Some of {','.join(DTYPES)}.")] = "float32",
    allocator: Annotated[
        str | None,
        typer.Option(
            help="tuned: glibc keeps freed memory, for everyone; default: as it comes; both, if left out: the better "
            "of them for each peer."
        ),
    ] = None,
    shapes: Annotated[
        str | None,
        typer.Option(
            help="In the sections' place: units of these pictures, as 8x128x32x32 (multiples of 32 channels)."
        ),
    ] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Peaks of memory, too.")] = False,
    device: Device = "cpu",
    threads: Threads = None,
    cold: Cold = False,
    quick: Quick = False,
    output: Output = None,
    report: Report = None,
) -> None:
    """Fused units and networks of them beside PyTorch, OpenVINO, ONNX Runtime, ncnn and MNN, in turn."""
    if allocator not in (*ALLOCATORS, "both", None):
        raise typer.BadParameter(f"{allocator!r}, expected both, tuned or default", param_hint="--allocator")
    device_of(device, "cpu")
    wanted = some_of("--sections", sections, SECTIONS, ["quick"] if quick else list(SECTIONS))
    if shapes:
        try:
            wanted = [workloads.of_shapes(shapes_of(shapes, dimensions=4))]
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--shapes") from None
    dtypes = [DTYPES[name] for name in some_of("--dtype", dtype, DTYPES, [])]
    effort = effort_of(FULL, SHORT, quick=quick, cold=cold)
    with_allocator = allocator or ("default" if quick else "both")
    allocators = ALLOCATORS if with_allocator == "both" else (with_allocator,)
    asked = [] if peers == "none" else some_of("--peers", peers, MODULE_PEERS, _default_peers(quick))
    with (
        session("conv_norm_act", threads, output, report, says=f"allocator: {with_allocator}") as run,
        _measurers(allocators, alone=quick and allocator is None) as measurers,
    ):
        chosen = _installed(asked, run.console)
        for kind in dtypes:
            peak = max(measurer.peak(kind) for measurer in measurers.values())
            for section in wanted:
                rows: list[UnitRow] = []
                for number in range(workloads.size(section)):
                    made = unit_rows(measurers, section, number, kind, chosen, peak, effort)
                    made = [with_peak(row, section, number) for row in made] if memory else made
                    run.add(made)
                    rows += made
                if rows:
                    show_units(section, rows, run.console)


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
