"""Rows as tables for the eye."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from genfuse_bench.graphs import GraphRow
from genfuse_bench.launches import LaunchRow
from genfuse_bench.loop import LoopRow
from genfuse_bench.memory import MemoryRow
from genfuse_bench.sampler_step import StepRow, slowest, smallest_ratio


def show_steps(rows: Sequence[StepRow], console: Console) -> None:
    """A step's time by solver and shape; a row that is not accurate shows its error instead.

    MiB is the floor's working set: sample, model output and next sample.
    """
    columns = (
        "solver",
        "shape",
        "MiB",
        "floor",
        "ours",
        "floors",
        "face",
        "peer",
        "× ours",
        "× face",
        "error",
        "",
    )
    for dtype in dict.fromkeys(row.dtype for row in rows):
        table = _table(f"One step in {dtype}, µs (medians)", columns)
        for row in (row for row in rows if row.dtype == dtype):
            table.add_row(row.solver, _shape(row.shape), _number(row.floor_bytes / 2**20), *_cells(row))
        console.print(table)


def _cells(row: StepRow) -> list[str]:
    error = f"{row.error:.1e}"
    if row.refused:
        return [*[""] * 7, f"[red]{error}[/]", f"[red]no speed reported: {row.refused}[/]"]
    times = (row.floor_us, row.ours_us, row.floors, row.face_us, row.peer_us, row.ratio, row.face_ratio)
    return [*map(_number, times), error, _contended(row.contended)]


def _contended(contended: bool) -> str:
    return "[yellow]contended[/]" if contended else ""


def show_grid(rows: Sequence[StepRow], console: Console) -> None:
    """Ratios to the peer (object/face) over many shapes, and the smallest of all."""
    solvers = list(dict.fromkeys(row.solver for row in rows))
    table = _table("Times faster than the peer: step object / face", ("shape", *solvers))
    by_case = {(row.shape, row.solver): row for row in rows}
    for shape in dict.fromkeys(row.shape for row in rows):
        table.add_row(_shape(shape), *(_ratios(by_case.get((shape, solver))) for solver in solvers))
    console.print(table)
    worst = slowest(rows)
    if worst:
        console.print(
            f"smallest ratio over {len(rows)} rows: {smallest_ratio(worst):.2f} "
            f"({worst.solver} at {_shape(worst.shape)})"
        )


def show_loops(rows: Sequence[LoopRow], console: Console) -> None:
    """A loop's own cost."""
    table = _table(
        "A step of a whole loop beside a free model, µs", ("solver", "shape", "ours", "peer", "×", "")
    )
    for row in rows:
        cells = map(_number, (row.ours_us, row.peer_us, row.ratio))
        table.add_row(row.solver, _shape(row.shape), *cells, _contended(row.contended))
    console.print(table)


def show_memory(rows: Sequence[MemoryRow], console: Console) -> None:
    """What steps allocate."""
    columns = ("solver", "shape", "who", "allocated a step", "live at once", "process")
    table = _table(
        "Memory beyond the solver's buffers: samples (1 is as much as x), and MiB of the process", columns
    )
    for row in rows:
        samples = (f"{size / row.sample_bytes:.2f}" for size in (row.allocated_a_step, row.peak_growth))
        resident = "" if row.resident_growth is None else f"{row.resident_growth / 2**20:.1f}"
        table.add_row(row.solver, _shape(row.shape), row.who, *samples, resident)
    console.print(table)


def show_launches(rows: Sequence[LaunchRow], console: Console) -> None:
    """Kernels and host reads."""
    table = _table("A step on a GPU would be", ("solver", "who", "kernels", "host reads"))
    for row in rows:
        table.add_row(row.solver, row.who, f"{row.kernels:g}", f"{row.host_reads:g}")
    console.print(table)


def show_graphs(rows: Sequence[GraphRow], console: Console) -> None:
    """What torch.compile makes of a loop."""
    table = _table("torch.compile of a loop", ("solver", "who", "steps", "graphs", "breaks", "fullgraph", ""))
    for row in rows:
        counts = ("" if n is None else str(n) for n in (row.graphs, row.breaks))
        fullgraph = "yes" if row.fullgraph else "no"
        table.add_row(row.solver, row.who, str(row.rows), *counts, fullgraph, row.error or "")
    console.print(table)


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", pad_edge=False, box=None)
    for column in columns:
        left = column in ("solver", "shape", "who", "")
        table.add_column(column, justify="left" if left else "right", no_wrap=column != "")
    return table


def _ratios(row: StepRow | None) -> str:
    if row is None:
        return ""
    return "[red]error[/]" if row.refused else f"{_number(row.ratio)} / {_number(row.face_ratio)}"


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _number(value: Any) -> str:
    """Three figures, or all of a whole number's."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
