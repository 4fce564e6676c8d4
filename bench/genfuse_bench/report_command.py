"""`genfuse bench report`: results as one page for the eye."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from genfuse_bench.page import page
from genfuse_bench.report import facts, plots_of, sections
from genfuse_bench.results import Result, load


def report(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Results files, folders of them (with their cards.json), git revisions, REVISION:PATH."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("report.html"),
    png: Annotated[Path | None, typer.Option(help="A folder that gets each plot as a PNG, too.")] = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "genfuse, measured",
) -> None:
    """One self-contained HTML page: speed, rooflines, scaling, quality against time, memory, kernel cards.

    It fetches nothing, runs no script, and reads on a phone, in light and dark.
    """
    results: list[Result] = []
    cards: list[dict[str, Any]] = []
    try:
        for source in sources:
            path = Path(source)
            if path.suffix == ".json":
                cards += _cards(path)
                continue
            if path.is_dir() and (path / "cards.json").is_file():
                cards += _cards(path / "cards.json")
            results += [result for rows in load(source).values() for result in rows]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="sources") from None
    if not results and not cards:
        raise typer.BadParameter(f"{', '.join(sources)}: no rows with times", param_hint="sources")
    written = write(results, cards, output, png, title)
    Console().print(f"-> {', '.join(map(str, written))}", highlight=False)


def write(
    results: Sequence[Result],
    cards: Sequence[dict[str, Any]],
    output: Path,
    png: Path | None = None,
    title: str = "genfuse, measured",
) -> list[Path]:
    """The page, and the folder of PNGs; what was written. BadParameter where it cannot be."""
    if importlib.util.find_spec("matplotlib") is None:
        raise typer.BadParameter("plots need matplotlib: pip install 'genfuse[bench]'", param_hint="--output")
    made = sections(results, cards)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page(title, facts(results), made), encoding="utf-8")
        if png is None:
            return [output]
        png.mkdir(parents=True, exist_ok=True)
        for name, plot in zip(_names(plot.title for plot in plots_of(made)), plots_of(made), strict=True):
            plot.png(png / f"{name}.png")
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--output, --png") from None
    return [output, png]


def _cards(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, list) or not all(isinstance(card, dict) and "kernel" in card for card in found):
        raise ValueError(f"{path} is no list of kernel cards (`make cards` writes them)")
    return found


def _names(titles: Iterable[str]) -> list[str]:
    """Of files."""
    return ["".join(c if c.isalnum() else "-" for c in each.lower()).strip("-") for each in titles]
