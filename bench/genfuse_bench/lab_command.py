"""`genfuse lab`: kernels of one's own, from a file to start with to a place on the leaderboard."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from genfuse.errors import GenfuseError
from genfuse.lab import check as cases_of
from genfuse.lab import child, contract, scaffold
from genfuse.lab.check import Outcome
from genfuse.lab.kernel_file import Source, read
from genfuse.lab.registration import Registration
from genfuse_bench import lab, modulated_ladder, penalty_ladder
from genfuse_bench.lab import LabRow
from genfuse_bench.machine import Machine
from genfuse_bench.options import device_of, some_of

app = typer.Typer(
    help="Write, check and race kernels of your own.", no_args_is_help=True, pretty_exceptions_enable=False
)
_console = Console(width=None if sys.stdout.isatty() else 140)
_errors = Console(stderr=True)

DTYPES = {
    str(d).removeprefix("torch."): d for d in (torch.float32, torch.float64, torch.bfloat16, torch.float16)
}


@contextmanager
def _user_errors() -> Iterator[None]:
    """What the user's file has wrong is a message and exit code 1, never our traceback."""
    try:
        yield
    except (GenfuseError, ValueError, OSError) as error:
        _errors.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


@app.callback()
def _lab() -> None:
    """Write, check and race kernels of your own."""


@app.command()
def new(
    op: Annotated[str, typer.Argument(help=f"One of {', '.join(contract.OPS)}.")],
    name: Annotated[Path, typer.Argument(help="The file to be written.")],
    backend: Annotated[str, typer.Option(help=f"One of {', '.join(scaffold.SUFFIXES)}.")] = "cpp",
) -> None:
    """Write a kernel file that computes the op as it comes, to start from."""
    with _user_errors():
        path = scaffold.new(op, name, backend)
    _console.print(f"{path}\ngenfuse lab check {path}", highlight=False, soft_wrap=True)


@app.command()
def header(op: Annotated[str, typer.Argument(help="An op.")]) -> None:
    """Print what a C++ or CUDA kernel of an op is called with: genfuse/OP.h."""
    from genfuse.lab.header import text

    with _user_errors():
        _console.print(text(op), highlight=False, markup=False, soft_wrap=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A kernel file.")],
    cases: Annotated[
        int,
        typer.Option(
            min=1, help="Of the op's generated cases, that the kernel takes; eight times as many are tried."
        ),
    ] = 48,
    first: Annotated[int, typer.Option(min=0, help="The first one's number.")] = 0,
    sanitize: Annotated[
        bool, typer.Option(help="Also in a process under sanitizers (C++), with a quarter of the cases.")
    ] = True,
) -> None:
    """Hold a kernel against its op's cases and the float64 reference, and what finds more in its language."""
    from genfuse_bench import lab_cards

    with _user_errors():
        source = read(file)
        runs: list[tuple[str, Callable[[], list[Outcome]]]] = []
        if source.language in ("cpp", "python"):
            runs.append(("on this processor", lambda: list(cases_of.check(source, cases, first))))
        if source.language == "cpp" and sanitize:
            fewer = max(1, cases // 4)
            runs.append(("under sanitizers", lambda: child.outcomes(source, fewer, first)))
        if source.language == "triton":
            runs.append(("under the interpreter", lambda: child.outcomes(source, cases, first)))
        if source.language == "cuda":
            runs.append(("emulated, under sanitizers", lambda: child.outcomes(source, cases, first)))
        problems = [problem for where, run in runs if (problem := _told(where, run()))]
        if not problems and source.language in ("triton", "cuda"):
            problems += lab_cards.show(source, _console)
    if problems:
        _errors.print(f"[bold red]failed:[/] {escape(problems[0])}", highlight=False, soft_wrap=True)
        raise typer.Exit(1)
    _console.print(f"{source.op}: passed ({source.path.name}, {source.hash})", highlight=False)


def _told(where: str, outcomes: list[Outcome]) -> str | None:
    """Print what came of the cases; what failed."""
    declined: dict[str, int] = {}
    for each in outcomes:
        if each.declined is not None:
            declined[each.declined] = declined.get(each.declined, 0) + 1
    right = [each for each in outcomes if each.is_right]
    largest = max((each.error for each in right), default=0.0)
    _console.print(
        f"{where}: {len(right)} of {len(outcomes)} cases right, the largest error {largest:.2f} of what is allowed",
        highlight=False,
    )
    for why, count in declined.items():
        _console.print(f"  declined {count}: {why}", highlight=False, markup=False)
    problem = cases_of.verdict(outcomes)
    return None if problem is None else f"{where}: {problem}"


@app.command()
def bench(
    files: Annotated[list[Path], typer.Argument(help="Kernel files of one op.")],
    dtype: Annotated[str, typer.Option(help=f"One of {', '.join(DTYPES)}.")] = "float32",
    shapes: Annotated[str | None, typer.Option(help="Of images, as 1x64x16x16,4x64x32x32.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="Of everyone.")] = None,
    record: Annotated[bool, typer.Option("--record", help="Append to the leaderboard.")] = False,
    folder: Annotated[Path, typer.Option(help="Where leaderboards lie.")] = Path("leaderboard"),
) -> None:
    """Race kernels beside genfuse's own and what runs the op today; who is wrong has no time."""
    if threads:
        torch.set_num_threads(threads)
    with _user_errors():
        (name,) = some_of("--dtype", dtype, DTYPES, ())[:1]
        sources = [read(file) for file in files]
        _check_one_op(sources)
        kernels = [Registration(source, strict=True) for source in sources]
        place = device_of(device)
        rows = lab.race(kernels, DTYPES[name], place, _shapes(shapes) if shapes else lab.SHAPES)
        machine = Machine.here()
        _console.print(str(machine), highlight=False)
        show(rows)
        if record:
            path = lab.leaderboard(folder, sources[0].op, machine)
            _append(path, rows, machine)
            _console.print(f"-> {path}", highlight=False, soft_wrap=True)
    if any(row.refused for row in rows if row.file is not None):
        raise typer.Exit(1)


def _check_one_op(sources: list[Source]) -> None:
    ops = sorted({source.op for source in sources})
    if len(ops) > 1:
        raise ValueError(f"the files are of {', '.join(ops)}, expected kernels of one op")


def _shapes(text: str) -> list[tuple[int, ...]]:
    try:
        shapes = [tuple(int(size) for size in each.split("x")) for each in text.split(",")]
    except ValueError:
        shapes = []
    if not shapes or any(len(shape) != 4 or min(shape) < 1 for shape in shapes):
        raise ValueError(f"--shapes is {text!r}, expected sizes of images, as 1x64x16x16,4x64x32x32")
    return shapes


def show(rows: list[LabRow]) -> None:
    """A table a call: times, the error beside each, and how many times as long as the fastest."""
    for shape in dict.fromkeys(row.shape for row in rows):
        of_shape = [row for row in rows if row.shape == shape]
        first = of_shape[0]
        best = min((row.us for row in of_shape if row.us is not None), default=1.0)
        title = f"{first.op}, {first.workload}, {'×'.join(map(str, shape))}, {first.dtype}, {first.threads} threads: µs"
        table = Table(title=title, title_justify="left", box=None)
        table.add_column("who")
        for heading in ("median", "first decile", "× the fastest", "error"):
            table.add_column(heading, justify="right")
        table.add_column("")
        for row in of_shape:
            numbers = [row.us, row.fastest_us, None if row.us is None else row.us / best, row.error]
            note = row.refused or ("contended" if row.contended else "")
            table.add_row(escape(row.who), *("" if n is None else f"{n:.3g}" for n in numbers), escape(note))
        _console.print(table)


def _append(path: Path, rows: list[LabRow], machine: Machine) -> None:
    """Lines at the end of a leaderboard: nothing that stands there is changed."""
    from genfuse_bench.record import json_line

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{json_line(row, machine)}\n" for row in rows if row.us is not None)


@app.command()
def board(
    op: Annotated[str, typer.Argument(help="An op.")],
    folder: Annotated[Path, typer.Option(help="Where leaderboards lie.")] = Path("leaderboard"),
) -> None:
    """The best known kernels of an op on this machine, by call."""
    with _user_errors():
        contract.contract(op)
        path = lab.leaderboard(folder, op, Machine.here())
        if not path.is_file():
            raise ValueError(f"there is no {path} yet: genfuse lab bench FILE --record writes it")
        lines: list[dict[str, Any]] = [
            json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()
        ]
    best: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in lines:
        key = tuple(str(line[name]) for name in ("shape", "dtype", "threads", "who", "hash"))
        if key not in best or _rank(line) < _rank(best[key]):
            best[key] = line
    names = ("shape", "dtype", "threads", "who", "hash", "µs", "error", "")
    table = Table(*names, title=f"{op}: {path}", box=None)
    for key, line in sorted(best.items(), key=lambda item: (item[0][:3], item[1]["us"])):
        error = "" if line["error"] is None else f"{line['error']:.1e}"
        note = "contended" if line["contended"] else ""
        table.add_row(*key[:4], line["hash"] or "", f"{line['us']:.3g}", error, note)
    _console.print(table)


def _rank(line: dict[str, Any]) -> tuple[bool, float]:
    """Of a kernel's lines: a run that others disturbed tells only where there is no other."""
    return line["contended"], line["us"]


LADDERS = Path(__file__).parents[1] / "ladders"
"""Of a checkout: a folder an op, its steps in order of their names."""
COMPOSED = {each.OP: each for each in (penalty_ladder, modulated_ladder)}
"""What is composed of ops, whose versions are in Python."""


@app.command()
def ladder(
    op: Annotated[str, typer.Argument(help=f"An op, or {' or '.join(COMPOSED)}.")],
    shapes: Annotated[str | None, typer.Option(help="Of images, as 1x64x16x16,4x64x32x32.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of everyone.")] = None,
    folder: Annotated[Path, typer.Option(help="Where ladders lie: a folder an op, a file a step.")] = LADDERS,
) -> None:
    """Measure an op's versions from naive to genfuse's own in one run, each held against the op's cases first.

    Of gradient_penalty against double backward in float64, of modulated_conv2d against its definition.
    """
    if threads:
        torch.set_num_threads(threads)
    with _user_errors():
        if op not in COMPOSED:
            contract.contract(op)
        steps = sorted(path for path in (folder / op).glob("*.*") if path.suffix in (".cpp", ".py"))
        if not steps:
            there = ", ".join(sorted(path.name for path in folder.glob("*") if path.is_dir())) or "none"
            raise ValueError(f"{folder / op} has no kernel files; ladders are there of: {there}")
        given = _shapes(shapes) if shapes else None
        if op in COMPOSED:
            rows = COMPOSED[op].race(steps, given or COMPOSED[op].SHAPES)
        else:
            kernels = [Registration(read(step, op), strict=True) for step in steps]
            rows = lab.race(kernels, torch.float32, device_of("cpu"), given or lab.SHAPES)
    _console.print(str(Machine.here()), highlight=False)
    show(rows)
    if any(row.refused for row in rows if row.file is not None):
        raise typer.Exit(1)
