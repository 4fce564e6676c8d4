"""`genfuse bench ops`: single ops on a GPU, each backend of ours beside PyTorch, torch.compile and apex."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

import genfuse
from genfuse import dispatch
from genfuse_bench.gpu_ops import OPS, Made, Subject, subjects
from genfuse_bench.measurement import TimedRow
from genfuse_bench.options import Cold, Output, Quick, Report, Threads, device_of, effort_of, some_of
from genfuse_bench.session import session
from genfuse_bench.timing import Call, Effort, measure

FULL, SHORT = Effort(5, 0.3, 5.0), Effort(1, 0.01, 0.02)
CALLS = range(2, 22)
"""Timed without waiting in between, after two that are not: the queue is ahead of the device."""

GROWTH = 2.0
"""How many times the error of eager PyTorch ours may have."""

ROUNDINGS = 8
"""Units in the last place that a few operations more may cost where eager PyTorch happens to be exact."""

DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float16, torch.bfloat16, torch.float32)}


@dataclass(frozen=True)
class OpRow(TimedRow):
    """One competitor on one call; no time where its error is too large."""

    op: str
    workload: str
    shape: tuple[int, ...]
    dtype: str
    device: str
    who: str
    us: float | None
    fastest_us: float | None
    ratio: float | None
    """the best of the others' times over this one's, where it is ours"""
    error: float | None
    """relative to the largest number of the exact result; None where there is nothing to compare"""
    tolerance: float | None


def ops(
    ops: Annotated[str | None, typer.Option(help=f"Some of {','.join(OPS)}.")] = None,
    dtype: Annotated[str | None, typer.Option(help=f"Some of {','.join(DTYPES)}.")] = None,
    device: Annotated[str, typer.Option(help="cuda, cuda:1, ...; cpu is a rehearsal.")] = "cuda",
    compiled: Annotated[bool, typer.Option(help="Whether torch.compile takes part.")] = True,
    threads: Threads = None,
    cold: Cold = False,
    quick: Quick = False,
    output: Output = None,
    report: Report = None,
) -> None:
    """Every op that has GPU kernels, by each backend, beside eager, channels-last, compiled PyTorch and apex."""
    place = device_of(device)
    names = some_of("--ops", ops, OPS, OPS)
    dtypes = [DTYPES[name] for name in some_of("--dtype", dtype, DTYPES, tuple(DTYPES))]
    effort = effort_of(FULL, SHORT, quick=quick, cold=cold)
    with session("ops", threads, output, report, device=place) as run:
        for kind in dtypes:
            for subject in subjects(names, kind, place, quick=quick):
                with torch.no_grad():
                    rows = contest(subject, kind, place, effort, run.console, compiled=compiled)
                run.console.print(_table(rows))
                run.add(rows)


def contest(
    subject: Subject,
    dtype: torch.dtype,
    device: torch.device,
    effort: Effort,
    console: Console,
    *,
    compiled: bool = True,
) -> list[OpRow]:
    """Errors first; then the times of those that are right, in turns."""
    ours = dict(_ours(subject, dtype, device))
    others = dict(subject.peers)
    for name, make in subject.compile.items() if compiled else ():
        try:
            others[name] = make()
            others[name]()
        except Exception as error:  # the peer's own: it has no place in the table, and we go on
            others.pop(name, None)
            console.print(f"{subject.op}, {name}: {str(error).strip().splitlines()[0]}", markup=False)
    exact = None if subject.exact is None else subject.exact()
    errors = {name: _error(made, exact) for name, made in (ours | others).items()}
    eager = errors["eager"]
    tolerance = None if eager is None else GROWTH * eager + ROUNDINGS * torch.finfo(dtype).eps
    right = {
        name: made for name, made in (ours | others).items() if _holds(errors[name], tolerance, name in ours)
    }
    measured = measure({name: Call(made) for name, made in right.items()}, CALLS, device, effort)
    best = min((name for name in others if name in right), key=measured.us.__getitem__)
    return [
        OpRow(
            subject.op,
            subject.case,
            subject.shape,
            str(dtype).removeprefix("torch."),
            str(device),
            name,
            measured.us.get(name),
            measured.fastest_us.get(name),
            measured.us[best] / measured.us[name] if name in ours and name in right else None,
            errors[name],
            tolerance if name in ours else None,
            timing=measured.only({name: name, best: best}).timing(name) if name in right else None,
        )
        for name in (*ours, *others)
    ]


def _ours(subject: Subject, dtype: torch.dtype, device: torch.device) -> Iterator[tuple[str, Made]]:
    """Each backend that runs the op here, by name and memory format."""
    for backend in dispatch.ORDER[device.type]:
        if backend != "aten" and dispatch.obstacle(subject.op, backend, device, dtype) is None:
            for form, made in subject.ours.items():
                yield f"ours {backend} {form}".rstrip(), partial(_forced, backend, made)


def _forced(backend: dispatch.Backend, made: Callable[[], Any]) -> Any:
    with genfuse.backend(backend):
        return made()


def _error(made: Made, exact: Tensor | None) -> float | None:
    if exact is None:
        return None
    got: Tensor = made()
    return float((got.double() - exact).abs().max() / exact.abs().max())


def _holds(error: float | None, tolerance: float | None, ours: bool) -> bool:
    return not ours or error is None or tolerance is None or error <= tolerance


def _table(rows: list[OpRow]) -> Table:
    first = rows[0]
    shape = "×".join(map(str, first.shape))
    table = Table(
        title=f"{first.op}, {first.workload}, {shape}, {first.dtype}: µs", title_justify="left", box=None
    )
    table.add_column("who")
    for heading in ("median", "first decile", "× best of the others", "error"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        note = (
            "[red]no speed reported[/]" if row.us is None else "[yellow]contended[/]" if row.contended else ""
        )
        numbers = [row.us, row.fastest_us, row.ratio, row.error]
        table.add_row(row.who, *("" if n is None else f"{n:.3g}" for n in numbers), note)
    return table
