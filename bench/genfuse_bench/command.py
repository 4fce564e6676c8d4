"""`genfuse bench`: measurements, printed and written down."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import torch
import typer
from rich.console import Console

from genfuse import dispatch
from genfuse_bench import step_report
from genfuse_bench.allocator import keep_freed_memory
from genfuse_bench.compare_command import compare
from genfuse_bench.gallery import gallery
from genfuse_bench.gpu_command import ops
from genfuse_bench.gradient_penalty_command import gradient_penalty
from genfuse_bench.graphs import graph_rows
from genfuse_bench.launches import launch_rows
from genfuse_bench.list_command import tensor_lists
from genfuse_bench.loop import loop_row
from genfuse_bench.loss_curves_command import loss_curves
from genfuse_bench.memory import memory_row
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
from genfuse_bench.peers import PEERS, Peer
from genfuse_bench.quality_command import quality
from genfuse_bench.record import Row
from genfuse_bench.report_command import report
from genfuse_bench.sampler_step import GRID, GRID_SOLVERS, GRID_TIMED, SHAPES, Shape, step_rows
from genfuse_bench.session import session
from genfuse_bench.solvers import SOLVERS, Solver
from genfuse_bench.spectral_norm_command import spectral_norm
from genfuse_bench.stylegan_command import stylegan
from genfuse_bench.systems_command import systems
from genfuse_bench.targets import Targets, run
from genfuse_bench.timing import Effort
from genfuse_bench.training_command import training
from genfuse_bench.unit_command import conv_norm_act

app = typer.Typer(cls=Targets, help="Measure genfuse beside its peers.", no_args_is_help=True)
_console = Console(width=None if sys.stdout.isatty() else 120)

DTYPES = {
    str(d).removeprefix("torch."): d for d in (torch.float32, torch.float64, torch.bfloat16, torch.float16)
}
QUICK_SOLVERS = ("euler", "ddpm")
QUICK = Effort(windows=1, window=0.05, limit=0.1)


class Section(str, Enum):
    """Parts of the report."""

    STEPS = "steps"
    LOOP = "loop"
    GRID = "grid"
    MEMORY = "memory"
    LAUNCHES = "launches"
    GRAPHS = "graphs"


@dataclass(frozen=True)
class Plan:
    """What a run measures."""

    solvers: Sequence[Solver]
    shapes: Sequence[Shape]
    dtypes: Sequence[torch.dtype]
    device: torch.device
    peer: Peer | None
    effort: Effort

    @property
    def who(self) -> list[str]:
        """The competitors."""
        return ["ours", "face", *([self.peer.name] if self.peer else [])]


@app.callback()
def bench() -> None:
    """Measure genfuse beside its peers: by a bench of those below, or by names of ops, networks and systems.

    `genfuse bench dcgan upfirdn2d --threads 2 --report out.html` measures the two by the benches that know them.
    """


app.command("run", hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    run
)
app.command("conv_norm_act")(conv_norm_act)
app.command("ops")(ops)
app.command("tensor_lists")(tensor_lists)
app.command("spectral_norm")(spectral_norm)
app.command("stylegan")(stylegan)
app.command("training")(training)
app.command("gradient_penalty")(gradient_penalty)
app.command("loss_curves")(loss_curves)
app.command("systems")(systems)
app.command("gallery")(gallery)
app.command("quality")(quality)
app.command("compare")(compare)
app.command("report")(report)


@app.command("sampler_step")
def sampler_step(
    shapes: Annotated[str | None, typer.Option(help="Shapes, as 1x3x32x32,64x3x64x64.")] = None,
    dtype: Annotated[str | None, typer.Option(help=f"Some of {','.join(DTYPES)}.")] = None,
    solvers: Annotated[str | None, typer.Option(help=f"Some of {','.join(SOLVERS)}.")] = None,
    sections: Annotated[
        str | None, typer.Option(help=f"Some of {','.join(s.value for s in Section)}.")
    ] = None,
    peers: Annotated[
        str, typer.Option(help=f"What to measure beside: {','.join(PEERS)} or none.")
    ] = "diffusers",
    device: Device = "cpu",
    threads: Threads = None,
    cold: Cold = False,
    quick: Quick = False,
    output: Output = None,
    report: Report = None,
) -> None:
    """One step of every solver: its time beside diffusers' and the floor, memory, launches, graphs."""
    names = some_of("--solvers", solvers, SOLVERS, QUICK_SOLVERS if quick else tuple(SOLVERS))
    plan = Plan(
        solvers=[SOLVERS[name] for name in names],
        shapes=shapes_of(shapes) if shapes else SHAPES[:1] if quick else SHAPES,
        dtypes=[
            DTYPES[name]
            for name in some_of("--dtype", dtype, DTYPES, ("float32",) if quick else tuple(DTYPES))
        ],
        device=device_of(device),
        peer=_peer(peers),
        effort=effort_of(Effort(), QUICK, quick=quick, cold=cold),
    )
    wanted = some_of(
        "--sections",
        sections,
        [s.value for s in Section],
        ("steps", "loop") if quick else [s.value for s in Section],
    )
    ours = f"ours: {dispatch.choose('sampler_step', plan.device, plan.dtypes[0]).backend} kernels"
    says = f"{keep_freed_memory()}; {ours}"
    with session("sampler_step", threads, output, report, device=plan.device, says=says) as run:
        for name in wanted:
            run.add(_SECTIONS[Section(name)](plan))


def _steps(plan: Plan) -> Sequence[Row]:
    rows = list(step_rows(plan.solvers, plan.shapes, plan.dtypes, plan.device, plan.peer, plan.effort))
    step_report.show_steps(rows, _console)
    return rows


def _grid(plan: Plan) -> Sequence[Row]:
    effort = Effort(windows=2, window=0.03, limit=1.5, cold=plan.effort.cold)
    cases = _few(plan), GRID, plan.dtypes[:1], plan.device, plan.peer, effort
    rows = list(step_rows(*cases, op="grid", timed=GRID_TIMED))
    step_report.show_grid(rows, _console)
    return rows


def _few(plan: Plan) -> list[Solver]:
    """One solver of each kind, for the sections that take long."""
    return [solver for solver in plan.solvers if solver.sampler in GRID_SOLVERS]


def _loop(plan: Plan) -> Sequence[Row]:
    shape = plan.shapes[0]
    rows = [
        loop_row(solver, shape, plan.dtypes[0], plan.device, plan.peer, plan.effort)
        for solver in plan.solvers
        if solver.sampler != "lcm"  # has no schedule of that many steps
    ]
    step_report.show_loops(rows, _console)
    return rows


def _memory(plan: Plan) -> Sequence[Row]:
    if plan.device.type != "cpu":
        _console.print("memory is measured on the CPU only")
        return []
    shape, threads = max(plan.shapes, key=lambda shape: torch.Size(shape).numel()), torch.get_num_threads()
    rows = [memory_row(solver.sampler, shape, who, threads) for solver in _few(plan) for who in plan.who]
    step_report.show_memory(rows, _console)
    return rows


def _launches(plan: Plan) -> Sequence[Row]:
    rows = [row for solver in plan.solvers for row in launch_rows(solver, plan.peer)]
    step_report.show_launches(rows, _console)
    return rows


def _graphs(plan: Plan) -> Sequence[Row]:
    rows = [row for solver in plan.solvers for row in graph_rows(solver, plan.peer)]
    step_report.show_graphs(rows, _console)
    return rows


_SECTIONS: dict[Section, Callable[[Plan], Sequence[Row]]] = {
    Section.STEPS: _steps,
    Section.LOOP: _loop,
    Section.GRID: _grid,
    Section.MEMORY: _memory,
    Section.LAUNCHES: _launches,
    Section.GRAPHS: _graphs,
}


def _peer(name: str) -> Peer | None:
    """The peer, or None with a word why not."""
    if name == "none":
        return None
    (chosen,) = some_of("--peers", name, PEERS, ()) or (name,)
    missing = PEERS[chosen].missing()
    if missing:
        _console.print(f"peer {chosen}: {missing}", highlight=False)
    return None if missing else PEERS[chosen]
