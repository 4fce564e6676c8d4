"""One HTML page that holds everything it shows, and that a phone can show too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from genfuse_bench.plots import SERIES, Plot

_DARK = ("#7da2f0", "#ee9068", "#66c596", "#bd92e8", "#d9b650", "#ef85b0", "#6bbcd2", "#a8a8ad")

_CSS = f"""
:root {{ color-scheme: light dark; --sans: system-ui, sans-serif; --paper: #ffffff; --ink: #1c1c1e; --muted: #5f6368;
  --line: #d9d9de; --panel: #f6f6f8; --bad: #b3261e; --accent: #3566c8;
  {" ".join(f"--series-{i}: {colour};" for i, colour in enumerate(SERIES))} }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #151517; --ink: #ececef; --muted: #a2a2aa; --line: #3a3a40;
  --panel: #1e1e21; --bad: #ff8a80; --accent: #7da2f0;
  {" ".join(f"--series-{i}: {colour};" for i, colour in enumerate(_DARK))} }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; max-width: 1180px; padding: 20px 16px 48px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 var(--sans); overflow-wrap: anywhere }}
h1 {{ font-size: 1.6rem; line-height: 1.2; margin: 0 0 4px }}
h2 {{ font-size: 1.25rem; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid var(--line) }}
p, li {{ max-width: 72ch }}
a {{ color: var(--accent) }}
nav {{ display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 12px 0 }}
small, .muted, figcaption {{ color: var(--muted) }}
.figures {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 350px), 1fr)); gap: 20px;
  align-items: start }}
figure {{ margin: 0; min-width: 0 }}
figure svg {{ display: block; width: 100%; height: auto; max-width: 480px }}
figcaption {{ font-size: .9rem; color: var(--ink); font-weight: 600 }}
details {{ margin: 8px 0; border: 1px solid var(--line); border-radius: 8px; background: var(--panel) }}
summary {{ cursor: pointer; padding: 10px 12px; font-weight: 600 }}
table {{ border-collapse: collapse; width: 100%; font-size: .85rem; font-variant-numeric: tabular-nums }}
th, td {{ text-align: left; vertical-align: top; padding: 4px 10px; border-top: 1px solid var(--line) }}
.number {{ text-align: right }}
.bad {{ color: var(--bad) }}
@media (max-width: 720px) {{
  thead {{ display: none }}
  tr {{ display: block; padding: 8px 0; border-top: 1px solid var(--line) }}
  td, td.number {{ display: flex; justify-content: space-between; gap: 12px; padding: 2px 12px; border: 0;
    text-align: right }}
  td::before {{ content: attr(data-name); color: var(--muted); text-align: left; flex: none }}
  td:first-child {{ font-weight: 600; text-align: left }}
  td:first-child::before {{ content: none }}
  td:empty {{ display: none }}
}}
"""


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column is what a row is about, columns in `numbers` stand to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[str] = frozenset()

    def html(self) -> str:
        """Folded; on a phone a row is a block of its own."""
        head = "".join(f"<th{self._kind(name)}>{escape(name)}</th>" for name in self.columns)
        body = "".join(f"<tr>{self._cells(row)}</tr>" for row in self.rows)
        return (
            f"<details><summary>{escape(self.title)}</summary>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></details>"
        )

    def _cells(self, row: Sequence[str]) -> str:
        cells = zip(self.columns, row, strict=True)
        return "".join(
            f'<td data-name="{escape(name)}"{self._kind(name)}>{escape(cell)}</td>' for name, cell in cells
        )

    def _kind(self, name: str) -> str:
        return ' class="number"' if name in self.numbers else ""


@dataclass(frozen=True)
class Section:
    """A heading, what there is to know, plots, tables."""

    name: str
    title: str
    words: str = ""
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = field(default_factory=tuple)

    def html(self) -> str:
        """In this order."""
        figures = "".join(
            f'<figure role="img" aria-label="{escape(plot.title)}"><figcaption>{escape(plot.title)}</figcaption>'
            f"{plot.svg()}</figure>"
            for plot in self.plots
        )
        words = f"<p>{escape(self.words)}</p>" if self.words else ""
        tables = "".join(table.html() for table in self.tables)
        block = f'<div class="figures">{figures}</div>' if figures else ""
        return f'<section id="{self.name}"><h2>{escape(self.title)}</h2>{words}{block}{tables}</section>'


def page(title: str, facts: Iterable[str], sections: Sequence[Section]) -> str:
    """The whole document: no script, nothing fetched."""
    links = "".join(f'<a href="#{section.name}">{escape(section.title)}</a>' for section in sections)
    said = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_CSS}</style></head><body>'
        f"<h1>{escape(title)}</h1><nav>{links}</nav>"
        f"<details><summary>Machines, versions, commits</summary><ul>{said}</ul></details>"
        f"{''.join(section.html() for section in sections)}</body></html>\n"
    )
