"""Plots of measurements, by matplotlib: drawn once in the page's own colours as SVG, once as PNG.

Each is as wide as a phone's screen, so that its letters can be read there. A page's colours are CSS variables, which
matplotlib does not know: figures are drawn in colours that stand for them.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH = 4.0
"""Inches: 384 of CSS's pixels."""

CHUNK = 16
"""Bars a figure."""


@dataclass(frozen=True)
class Palette:
    """Colours of a drawing."""

    ink: str
    muted: str
    grid: str
    paper: str
    series: tuple[str, ...]


SERIES = ("#3566c8", "#c2562d", "#2b8a5b", "#8a4fbf", "#a8831a", "#c23a72", "#277e97", "#6d6d6d")
PAPER = Palette("#1c1c1e", "#5f6368", "#d9d9de", "#ffffff", SERIES)
"""For PNG, on white."""

STANDINS = Palette(
    "#010101", "#020202", "#030303", "#050505", tuple(f"#0404{i:02x}" for i in range(len(SERIES)))
)
"""Of CSS variables, by `_VARIABLES`."""

_VARIABLES = {
    STANDINS.ink: "--ink",
    STANDINS.muted: "--muted",
    STANDINS.grid: "--line",
    STANDINS.paper: "--paper",
} | {colour: f"--series-{i}" for i, colour in enumerate(STANDINS.series)}


@dataclass(frozen=True)
class Plot:
    """A figure that can be drawn in any palette: `draw(axes, palette)`, `height` in inches."""

    title: str
    draw: Callable[[Any, Palette], None]
    height: float = 2.9

    def svg(self) -> str:
        """The element, as wide as its place; text stays text."""
        buffer = io.StringIO()
        self._save(STANDINS, buffer, format="svg", transparent=True, metadata={"Date": None})
        text = buffer.getvalue()
        text = text[text.index("<svg") :]
        for colour, variable in _VARIABLES.items():
            text = text.replace(colour, f"var({variable})")
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", text)
        return re.sub(r' width="[\d.]+pt"| height="[\d.]+pt"', "", text, count=2)

    def png(self, path: Path) -> None:
        """On white, 200 dots an inch. OSError where it cannot be written."""
        self._save(PAPER, path, format="png", dpi=200, facecolor="white")

    def _save(self, palette: Palette, target: Any, **options: Any) -> None:
        import matplotlib as mpl
        from matplotlib.figure import Figure

        settings: Any = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), palette.ink)
        settings |= {"xtick.color": palette.muted, "ytick.color": palette.muted, "grid.color": palette.grid}
        settings |= {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True}
        settings |= {"axes.axisbelow": True, "legend.frameon": False, "svg.hashsalt": self.title}
        settings |= {"font.size": 9, "axes.labelsize": 9, "legend.fontsize": 8, "svg.fonttype": "none"}
        with mpl.rc_context(settings):
            figure = Figure(figsize=(WIDTH, self.height), layout="constrained")
            self.draw(figure.add_subplot(), palette)
            figure.savefig(target, **options)


@dataclass(frozen=True)
class Bar:
    """Times as fast as a peer, and its interval."""

    label: str
    peer: str
    low: float
    value: float
    high: float


def bars(title: str, several: Sequence[Bar]) -> Plot:
    """From 1, which is as fast as the peer; labels above their bars, for a phone has no room beside them."""
    from matplotlib.ticker import NullFormatter, NullLocator, ScalarFormatter

    peers = list(dict.fromkeys(bar.peer for bar in several))

    def draw(axes: Any, palette: Palette) -> None:
        for place, bar in enumerate(several):
            colour = palette.series[peers.index(bar.peer) % len(palette.series)]
            axes.barh(place, bar.value - 1, left=1, height=0.32, color=colour)
            axes.plot(
                [bar.low, bar.high], [place, place], color=palette.ink, linewidth=1.4, solid_capstyle="butt"
            )
            words = f"{bar.label}: {bar.value:.2f} × {bar.peer}"
            axes.annotate(
                words, (0, place), (0, 9), xycoords=("axes fraction", "data"), textcoords="offset points",
                fontsize=8, va="center", annotation_clip=False,
                bbox={"facecolor": palette.paper, "edgecolor": "none", "pad": 0.6},
            )  # fmt: skip
        ends = [end for bar in several for end in (bar.low, bar.high, 1.0)]
        axes.set_xscale("log")
        axes.set_xlim(min(ends) / 1.05, max(ends) * 1.08)
        ticks = [
            t
            for t in (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50, 100)
            if min(ends) / 1.05 <= t <= max(ends) * 1.08
        ]
        axes.set_xticks(ticks)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(len(several) - 0.6, -0.9)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.axvline(1, color=palette.ink, linewidth=1)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("times as fast as the best of the others")

    return Plot(title, draw, height=0.7 + 0.36 * len(several))


@dataclass(frozen=True)
class Line:
    """A series: points, and what holds each, where it is known."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    ends: Sequence[tuple[float, float]] | None = None
    dashed: bool = False
    """as another line of the series, which alone is in the legend"""
    series: int = 0
    notes: Sequence[str] = ()


def lines(
    title: str, several: Sequence[Line], x: str, y: str, *, log_x: bool = True, log_y: bool = True
) -> Plot:
    """On logarithmic axes of plain numbers; the legend below."""

    named = [line for line in several if not line.dashed]
    columns = 1 if any(len(line.label) > 24 for line in named) else 2

    def draw(axes: Any, palette: Palette) -> None:
        for line in several:
            colour = palette.series[line.series % len(palette.series)]
            style = {
                "linestyle": "--" if line.dashed else "-",
                "marker": "o",
                "markersize": 3.5,
                "linewidth": 1.4,
            }
            axes.plot(line.x, line.y, color=colour, label="" if line.dashed else line.label, **style)
            for at, (low, high) in zip(line.x, line.ends or (), strict=False):
                axes.plot([at, at], [low, high], color=colour, linewidth=2.4, alpha=0.5)
            for at, height, note in zip(line.x, line.y, line.notes, strict=False):
                axes.annotate(
                    note, (at, height), (3, 3), textcoords="offset points", fontsize=7, color=palette.muted
                )
        _scale(axes, "x", log_x, sorted({at for line in several for at in line.x}))
        _scale(axes, "y", log_y, ())
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.figure.legend(loc="outside lower left", ncols=columns)

    return Plot(title, draw, height=2.7 + 0.19 * math.ceil(len(named) / columns))


def _scale(axes: Any, axis: str, logarithmic: bool, values: Sequence[float]) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, ScalarFormatter

    if not logarithmic:
        return
    getattr(axes, f"set_{axis}scale")("log")
    of = axes.xaxis if axis == "x" else axes.yaxis
    if 0 < len(values) <= 7:
        of.set_ticks(values)
    else:
        of.set_major_locator(LogLocator(10, (1, 2, 5), numticks=8))
    of.set_major_formatter(ScalarFormatter() if axis == "x" else EngFormatter(sep=""))
    of.set_minor_formatter(NullFormatter())
    of.set_ticks([], minor=True)


@dataclass(frozen=True)
class Point:
    """A kernel under a roofline: operations a byte, and operations a second in units of 10⁹."""

    label: str
    intensity: float
    gflops: float


def roofline(title: str, several: Sequence[Point], peak: float, bandwidth: float | None) -> Plot:
    """Williams, Waterman and Patterson 2009: below the machine's product and its memory's slope (GFLOP/s, GB/s)."""
    groups = list(dict.fromkeys(point.label for point in several))

    def draw(axes: Any, palette: Palette) -> None:
        left, right = (f(point.intensity for point in several) for f in (min, max))
        ridge = peak / bandwidth if bandwidth else left
        left, right = min(left, ridge) / 2, max(right, ridge) * 2
        if bandwidth:
            axes.plot([left, ridge], [left * bandwidth, peak], color=palette.ink, linewidth=1.2)
            text = f"memory, {bandwidth:.0f} GB/s"
            axes.annotate(text, (left, left * bandwidth), (12, 0), textcoords="offset points", fontsize=8)
        axes.plot([ridge, right], [peak, peak], color=palette.ink, linewidth=1.2)
        axes.annotate(
            f"product, {peak:.0f} GFLOP/s",
            (right, peak),
            (0, 4),
            textcoords="offset points",
            fontsize=8,
            ha="right",
        )
        for number, name in enumerate(groups):
            xs, ys = zip(*((p.intensity, p.gflops) for p in several if p.label == name), strict=True)
            colour = palette.series[number % len(palette.series)]
            marker = "os^Dv*"[number // len(palette.series) % 6]
            axes.plot(xs, ys, linestyle="", marker=marker, markersize=5, color=colour, label=name)
        for axis in ("x", "y"):
            _scale(axes, axis, True, ())
        least = min(peak, *(point.gflops for point in several))
        axes.set_ylim(least / 3, 1.6 * max(peak, *(point.gflops for point in several)))
        axes.set_xlabel("operations a byte moved")
        axes.set_ylabel("GFLOP/s")
        axes.figure.legend(loc="outside lower left", ncols=2)

    return Plot(title, draw, height=2.9 + 0.19 * ((len(groups) + 1) // 2))
