"""Rows of `genfuse bench conv_norm_act` as tables for the eye."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from genfuse_bench.conv_norm_act import UnitRow


def show_units(section: str, rows: Sequence[UnitRow], console: Console) -> None:
    """Times, then what they amount to, then who is missing; rows of one dtype."""
    console.print(_times(section, rows))
    console.print(_rates(section, rows))
    said = {f"{row.workload} {_shape(row)}: {peer}: {why}" for row in rows for peer, why in row.unfit.items()}
    for line in sorted(said):
        console.print(line, highlight=False, markup=False)


def _times(section: str, rows: Sequence[UnitRow]) -> Table:
    """A column each for ours, whole peers, and peers that ran the convolution alone."""
    peers = list(dict.fromkeys(name for row in rows for name in row.peers_ms))
    alone = list(dict.fromkeys(name for row in rows for name in row.bare_ms))
    forms = [form for form in ("planar", "guarded") if any(_form(row, form) is not None for row in rows)]
    headings = ("ours", *forms, *peers, "× best", *(f"{name}, conv" for name in alone))
    headings = (*headings, "× conv") if alone else headings
    table = _table(f"{section}: ms a call (medians), {rows[0].dtype}", headings)
    for row in rows:
        ours = [row.ours_ms, *(_form(row, form) for form in forms)]
        whole = [*(row.peers_ms.get(name) for name in peers), row.ratio]
        conv = [*(row.bare_ms.get(name) for name in alone), row.bare_ratio] if alone else []
        note = "[red]no speed reported[/]" if row.refused else "[yellow]contended[/]" if row.contended else ""
        table.add_row(*_case(row), *map(_number, (*ours, *whole, *conv)), note)
    return table


def _rates(section: str, rows: Sequence[UnitRow]) -> Table:
    """Of ours."""
    headings = ("GFLOP/s", "of the peak", "MB", "× least", "error", "allowed", "PyTorch's")
    table = _table(f"{section}: ours, {rows[0].dtype}; peak {rows[0].peak_gflops:.0f} GFLOP/s", headings)
    for row in rows:
        share = "" if row.share is None else f"{row.share:.0%}"
        memory = (f"{row.bytes_moved / 1e6:.3g}", _number(row.bytes_moved / row.bytes_minimum))
        errors = (f"{error:.1e}" for error in (row.error, row.tolerance, row.torch_error))
        table.add_row(*_case(row), _number(row.gflops), share, *memory, *errors, row.backend)
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", pad_edge=False, box=None)
    for heading in ("workload", "shape", "accuracy"):
        table.add_column(heading)
    for heading in headings:
        table.add_column(heading, justify="right")
    table.add_column("")
    return table


def _case(row: UnitRow) -> tuple[str, str, str]:
    return row.workload, _shape(row), row.accuracy


def _shape(row: UnitRow) -> str:
    return "×".join(map(str, row.shape))


def _form(row: UnitRow, form: str) -> float | None:
    return row.planar_ms if form == "planar" else row.guarded_ms


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
