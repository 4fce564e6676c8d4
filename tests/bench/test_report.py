"""`genfuse bench report`: what the page holds, and that a phone shows all of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from genfuse_bench.report import plots_of, sections
from genfuse_bench.report_command import report
from genfuse_bench.results import read

app = typer.Typer()
app.command()(report)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"),
    "--virtual-time-budget=5000",  # until the script has run
)


def row(ours: float | None, peer: float, **fields: Any) -> dict[str, Any]:
    us = {"eager": peer} | ({} if ours is None else {"ours fast": ours})
    timing = {
        "us": us,
        "interval_us": {who: [t * 0.9, t * 1.1] for who, t in us.items()},
        "ratio": {} if ours is None else {"eager": [peer / ours * f for f in (0.8, 1.0, 1.2)]},
        "confidence": 0.96,
        "contended": False,
        "cache": "warm",
    }
    machine = {"processor": "A <processor>", "cores": 2, "gpus": [], "instruction_sets": ["avx2"]}
    case = {"op": "conv_norm_act", "workload": "unit", "shape": [8, 64, 32, 32], "dtype": "float32"}
    rates = {
        "gflops": 100.0,
        "peak_gflops": 200.0,
        "bytes_moved": 1_000_000,
        "error": 1e-7,
        "tolerance": 1e-6,
    }
    common = {
        "accuracy": "fast",
        "threads": 2,
        "machine": machine,
        "versions": {"torch": "2"},
        "commit": "c" * 40,
    }
    return {**case, **common, **rates, "timing": timing, **fields}


def quality(sampler: str, steps: int, fid: float) -> dict[str, Any]:
    fields = {
        "op": "quality",
        "workload": "shipped",
        "solver": sampler,
        "accuracy": None,
        "torch_error": 1e-6,
    }
    line = row(
        900.0 * steps,
        1800.0 * steps,
        **fields,
        steps=steps,
        evaluations=steps,
        fid=fid,
        count=64,
        real_fid=1.0,
    )
    timing = line["timing"]
    timing["us"] = {"ours": 900.0 * steps}
    timing["interval_us"] = {"ours": [800.0 * steps, 1000.0 * steps]}
    timing["ratio"] = {}
    return line


LINES = [
    row(100, 300),
    row(60, 150, shape=[4, 64, 32, 32], peak_mb={"ours": 3.0, "eager": 6.0}),
    row(50, 140, shape=[4, 64, 16, 16]),
    row(55, 140, shape=[4, 64, 16, 16], threads=1),
    row(None, 140, workload="wrong <unit>", gflops=None),
    *(quality(name, steps, fid / steps) for name, fid in (("euler", 40), ("unipc", 20)) for steps in (5, 10)),
]
CARD = {
    "target": "sm_90",
    "kernel": "conv",
    "backend": "triton",
    "dtype": "float16",
    "registers": 90,
    "spill_bytes": 0,
}
CARD |= {"shared_bytes": 1024, "occupancy": 0.5, "tensor_core": 4, "touched": 12, "minimum": 10}


class Outline(HTMLParser):
    """Elements by name, whether each was closed, and all that is fetched."""

    VOID = frozenset(("meta", "br", "path", "use", "stop"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.ids: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.ids += [value for name, value in attrs if name == "id" and value and tag == "section"]
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    (folder / "cards.json").write_text(json.dumps([CARD]))
    output = folder / "out" / "page.html"
    options = [str(folder), "-o", str(output), "--png", str(folder / "png"), "--title", "A & B"]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    return output


def test_the_page_holds_everything_it_shows(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert outline.ids == ["speed", "roofline", "scaling", "quality", "memory", "cards"]
    assert outline.count["svg"] == outline.count["figure"] == 1 + 1 + 3 + 2
    assert all(link.startswith("#") for link in outline.fetched) and "script" not in outline.count
    assert "A &amp; B" in text and "wrong &lt;unit&gt;" in text and "width=device-width" in text
    assert "@import" not in text and "url(http" not in text


def test_plots_take_the_pages_colours(page: Path) -> None:
    figures = re.findall(r"<svg.*?</svg>", page.read_text(encoding="utf-8"), re.DOTALL)
    assert all("<text" in figure and "DejaVu" not in figure for figure in figures)
    assert all("var(--ink)" in figure and "var(--series-0)" in figure for figure in figures)
    left = {c for figure in figures for c in re.findall(r"#0[0-9a-f]0[0-9a-f]0[0-9a-f]\b", figure)}
    assert not left - {"#000000"}
    assert all("viewBox" in figure and 'width="' not in figure.split(">")[0] for figure in figures)


def test_plots_are_pngs_too(page: Path) -> None:
    files = sorted((page.parents[1] / "png").iterdir())
    assert len(files) == 7
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_figures_say_what_rows_say() -> None:
    made = {section.name: section for section in sections(read(map(json.dumps, LINES), "rows"), [CARD])}
    (table,) = made["speed"].tables
    first = dict(zip(table.columns, table.rows[0], strict=True))
    assert (first["times as fast"], first["between"], first["ours, µs"]) == ("3.00", "2.40 to 3.60", "100")
    refused = dict(zip(table.columns, table.rows[-1], strict=True))
    assert (refused["times as fast"], refused[""]) == ("", "no speed")
    assert [plot.title for plot in made["scaling"].plots] == [
        "conv_norm_act, float32: over batch",
        "conv_norm_act, float32: over picture size",
        "conv_norm_act, float32: over threads",
    ]
    assert made["cards"].tables[0].rows == [
        ("conv, triton, float16", "1", "90", "0", "1024", "50%", "1", "1.20")
    ]
    assert next(row[1:4] for row in made["quality"].tables[0].rows) == ("5", "5", "8")
    assert len(plots_of(list(made.values()))) == 7


@pytest.mark.parametrize(
    ("text", "words"), [("no row", "no JSON"), ("", "no rows with times"), ("{}", "no op")]
)
def test_unusable_input_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "r.jsonl").write_text(text)
    result = CliRunner().invoke(app, [str(tmp_path / "r.jsonl"), "-o", str(tmp_path / "page.html")])
    assert result.exit_code == 2 and words in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "page.html").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_nothing_is_wider_than_a_phone(page: Path, tmp_path: Path) -> None:
    """With everything unfolded; a window of Chromium is never that narrow, a frame in it may be."""
    frame = page.parent / "frame.html"
    frame.write_text(
        f'<iframe id=f src="{page.name}" style="width:390px;height:5000px;border:0"></iframe><pre id=o></pre><script>'
        "f.onload=()=>{const d=f.contentDocument;for(const e of d.querySelectorAll('details'))e.open=true;"
        "const r=d.documentElement;o.textContent='is '+r.scrollWidth+' of '+r.clientWidth+', figures '+"
        "[...d.querySelectorAll('svg')].filter(s=>s.getBoundingClientRect().height>100).length}</script>"
    )
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path}", "--dump-dom", frame.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    found = re.search(r"is (\d+) of (\d+), figures (\d+)</pre>", shown)
    assert found is not None, shown[-500:]
    assert found[1] == found[2] and found[3] == "7"
