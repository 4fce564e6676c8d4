"""A run's numbers: a line of JSON a row in ``metrics.jsonl``, and their curves as a picture."""

from __future__ import annotations

import json
import math
import reprlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from genfuse.data.atomic import atomic_path
from genfuse.errors import CheckpointError

METRICS_FILE = "metrics.jsonl"
CURVES_FILE = "curves.png"
_NO_CURVE = ("step", "time", "pictures_per_second")


def append(run: Path, row: dict[str, Any]) -> None:
    """One more row, which has its ``step``."""
    with (run / METRICS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def rows(run: Path) -> list[dict[str, Any]]:
    """All rows so far."""
    lines = (run / METRICS_FILE).read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines if line.strip()]


def forget_after(run: Path, step: int) -> None:
    """Drop the rows of steps that will be taken again; a row that was cut off goes too, and blank lines.

    CheckpointError for a line that is no row; the file is unchanged.
    """
    file = run / METRICS_FILE
    if not file.is_file():
        return
    lines = file.read_bytes().split(b"\n")[:-1]
    steps = [_logged_step(file, number, line) for number, line in enumerate(lines, 1)]
    kept = [
        line + b"\n" for line, logged in zip(lines, steps, strict=True) if logged <= step and line.strip()
    ]
    with atomic_path(file) as temporary:
        temporary.write_bytes(b"".join(kept))


def can_draw() -> bool:
    """Whether matplotlib is installed, which the curves are drawn with."""
    return find_spec("matplotlib") is not None


def draw(run: Path) -> None:
    """``curves.png``: each number over the steps, in a panel of its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logged = rows(run)
    shown = [name for name in dict.fromkeys(name for row in logged for name in row) if name not in _NO_CURVE]
    if not shown:
        return
    columns = math.ceil(math.sqrt(len(shown)))
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(4.5 * columns, 3 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(shown, 1):
        axes = figure.add_subplot(lines, columns, place)
        points = [(row["step"], row[name]) for row in logged if name in row]
        axes.plot(*zip(*points, strict=True), linewidth=1)
        axes.set_title(name.replace("_", " "))
        axes.grid(alpha=0.3)
    with atomic_path(run / CURVES_FILE) as temporary:
        figure.savefig(temporary, format="png", dpi=80)


def _logged_step(file: Path, number: int, line: bytes) -> int:
    """The step of a line of metrics, 0 where it is blank."""
    if not line.strip():
        return 0
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    step = row.get("step") if isinstance(row, dict) else None
    if not isinstance(step, int) or isinstance(step, bool):
        raise CheckpointError(
            f"{file}, line {number} is {reprlib.repr(line)}, expected a JSON object with a step: remove the line"
        )
    return step
