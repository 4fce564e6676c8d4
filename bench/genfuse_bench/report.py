"""What a report shows: sections of plots and tables out of rows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from genfuse_bench.page import Section, Table
from genfuse_bench.plots import CHUNK, Bar, Line, Plot, Point, bars, lines, roofline
from genfuse_bench.results import Result

SERIES = 5
"""Curves of ours in a plot of scaling: those with the most points."""

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}

BEYOND_CACHE = 64e6
"""Bytes of a floor from which its rate is taken to be the memory's."""


def sections(results: Sequence[Result], cards: Sequence[Mapping[str, Any]] = ()) -> list[Section]:
    """Those that have something to show."""
    quality = [result for result in results if result.op == "quality"]
    timed = [result for result in results if result.op != "quality"]
    made = (
        _speed(timed),
        _roofline(timed),
        _scaling(timed),
        _quality(quality),
        _memory(timed),
        _cards(cards),
    )
    return [section for section in made if section is not None]


def facts(results: Sequence[Result]) -> list[str]:
    """Machines, versions, commits; and how many rows have no speed or were measured on a busy machine."""
    said = []
    for _, rows in _grouped(results, lambda result: str(result.line.get("machine"))).items():
        machine, versions = rows[0].line.get("machine", {}), rows[0].line.get("versions", {})
        commits = sorted({str(row.line.get("commit"))[:10] for row in rows})
        known = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        gpus = ", ".join(machine.get("gpus", ()))
        sets = "/".join(machine.get("instruction_sets", ()))
        said.append(
            f"{len(rows)} rows on {machine.get('processor')}, {machine.get('cores')} cores ({sets}) {gpus}; "
            f"{machine.get('system')}; {known}; commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}"
        )
    refused, busy = (
        sum(result.ours is None for result in results),
        sum(result.contended for result in results),
    )
    if refused:
        said.append(f"{refused} rows have no speed: their error against float64 is larger than allowed")
    if busy:
        said.append(f"{busy} rows were measured while others used the machine all the while")
    if any(result.confidence is None for result in results):
        said.append("rows that are older than intervals show the spread of their laps in their place")
    return said


def _grouped(results: Iterable[Result], key: Callable[[Result], Any]) -> dict[Any, list[Result]]:
    groups: dict[Any, list[Result]] = defaultdict(list)
    for result in results:
        groups[key(result)].append(result)
    return dict(groups)


def _machine(result: Result) -> str:
    """What two rows of one machine share, whatever runs on it."""
    facts = result.line.get("machine", {})
    return f"{facts.get('processor')}, {facts.get('cores')} cores {' '.join(facts.get('gpus', ()))}".strip()


def _best(result: Result) -> str | None:
    """The fastest of the others; the time's control of the plots."""
    peers = {name: us for name, us in result.peers.items() if not name.endswith(" bare")} or result.peers
    return min(peers, key=lambda name: peers[name].median, default=None)


def _speed(results: Sequence[Result]) -> Section | None:
    plots, tables = [], []
    for (op, dtype), rows in _grouped(results, lambda r: (r.op, r.line.get("dtype", ""))).items():
        made = [bar for row in rows if (bar := _bar(row)) is not None]
        chunks = [made[start : start + CHUNK] for start in range(0, len(made), CHUNK)]
        for number, chunk in enumerate(chunks, 1):
            if op == "grid":  # which the plots of scaling show
                continue
            part = f" ({number} of {len(chunks)})" if len(chunks) > 1 else ""
            plots.append(bars(f"{op}, {dtype}{part}", chunk))
        tables.append(_times(f"{op}, {dtype}: {len(rows)} rows", rows))
    if not tables:
        return None
    words = (
        "Bars begin at 1, which is as fast as the best of the others; lines are the 95 % interval of the ratio, from "
        "round to round of one process. A row whose error against float64 is too large has no bar."
    )
    return Section("speed", "Speed", words, plots, tables)


def _bar(result: Result) -> Bar | None:
    best = _best(result)
    if result.ours is None or best is None:
        return None
    ratio = result.ratio[best]
    words = [result.name, "×".join(map(str, result.shape)), str(result.line.get("accuracy") or "")]
    words += ["grad" if result.line.get("gradients") else "", "cold" if _cold(result) else ""]
    peer = str(result.line.get("peer") or best) if best == "peer" else best
    return Bar(" ".join(word for word in words if word), peer, *ratio)


def _cold(result: Result) -> bool:
    return bool((result.line.get("timing") or {}).get("cache") == "cold")


def _times(title: str, results: Sequence[Result]) -> Table:
    columns = (
        "case",
        "ours, µs",
        "interval",
        "others, µs",
        "times as fast",
        "between",
        "error",
        "allowed",
        "",
    )
    rows = []
    for result in results:
        ours = result.us.get(result.ours or "")
        ratio = result.ratio.get(_best(result) or "")
        others = ", ".join(f"{name} {_number(us.median)}" for name, us in result.peers.items())
        note = "no speed" if result.ours is None else "contended" if result.contended else ""
        rows.append(
            (
                result.label,
                _number(ours.median) if ours else "",
                f"{_number(ours.low)} to {_number(ours.high)}" if ours else "",
                others,
                f"{ratio.median:.2f}" if ratio else "",
                f"{ratio.low:.2f} to {ratio.high:.2f}" if ratio else "",
                _number(result.line.get("error")),
                _number(result.line.get("tolerance")),
                note,
            )
        )
    return Table(title, columns, rows, frozenset(columns[1:3] + columns[4:8]))


def _roofline(results: Sequence[Result]) -> Section | None:
    plots = []
    known = [row for row in results if row.line.get("gflops") and row.line.get("bytes_moved")]
    by_machine = _grouped(known, lambda r: (_machine(r), r.line.get("dtype"), r.line.get("accuracy")))
    for (machine, dtype, accuracy), rows in by_machine.items():
        several = [_point(row) for row in rows]
        peak = max(float(row.line["peak_gflops"]) for row in rows)
        title = f"{dtype}, accuracy {accuracy}, {machine}"
        plots.append(roofline(title, several, peak, _bandwidth(results, machine)))
    if not plots:
        return None
    words = (
        "Operations are the definition's and bytes those that the kernels move; what lies above the product's line "
        "does with fewer multiplications (Winograd) than the definition has. Memory's slope is the rate of the largest "
        "floor that was measured on the machine, where one was."
    )
    return Section("roofline", "Roofline", words, plots)


def _point(row: Result) -> Point:
    gflops = float(row.line["gflops"])
    operations = gflops * row.us[row.ours or ""].median * 1e3
    return Point(row.name, operations / float(row.line["bytes_moved"]), gflops)


def _bandwidth(results: Sequence[Result], machine: str) -> float | None:
    """GB/s of the fastest floor beyond caches: two tensors read, one written."""
    rates = []
    for row in results:
        floor, size = row.us.get("floor"), 3 * math.prod(row.shape) * BYTES.get(str(row.line.get("dtype")), 4)
        if row.op == "sampler_step" and floor and size > BEYOND_CACHE and _machine(row) == machine:
            rates.append(size / floor.median / 1e3)
    return max(rates, default=None)


AXES: tuple[tuple[str, str, Callable[[Result], float]], ...] = (
    ("batch", "samples in a batch", lambda row: row.shape[0]),
    ("picture size", "pixels in height and width", lambda row: row.shape[-1]),
    ("threads", "threads", lambda row: float(row.line.get("threads") or 1)),
)


def _scaling(results: Sequence[Result]) -> Section | None:
    plots = []
    shaped = [row for row in results if len(row.shape) >= 3 and row.ours is not None]
    for (op, dtype), rows in _grouped(shaped, lambda r: (r.op, r.line.get("dtype"))).items():
        for axis, words, of in AXES:
            groups = _grouped(rows, lambda row, axis=axis: _others(row, axis))  # type: ignore[misc]
            several = [
                sorted(group, key=of) for group in groups.values() if len({of(row) for row in group}) > 1
            ]
            several.sort(key=len, reverse=True)
            drawn = [line for n, group in enumerate(several[:SERIES]) for line in _curves(group, axis, of, n)]
            if drawn:
                y = "pixels a second" if axis == "picture size" else "samples a second"
                plots.append(lines(f"{op}, {dtype}: over {axis}", drawn, words, y))
    words = "Solid: ours. Dashed: the best of the others. The curves with the most points are shown."
    return Section("scaling", "Scaling", words, plots) if plots else None


def _others(row: Result, axis: str) -> tuple[Any, ...]:
    """All that stays where one axis moves."""
    shape = list(row.shape)
    if axis == "batch":
        shape[0] = 0
    elif axis == "picture size":
        shape[-2:] = [0, 0]
    threads = None if axis == "threads" else row.line.get("threads")
    rest = ("workload", "solver", "accuracy", "gradients", "who", "device")
    return (*shape, threads, _cold(row), _machine(row), *(row.line.get(name) for name in rest))


def _curves(group: Sequence[Result], axis: str, of: Callable[[Result], float], number: int) -> list[Line]:
    shape = list(map(str, group[0].shape))
    if axis == "batch":
        shape[0] = "N"
    elif axis == "picture size":
        shape[-2:] = ["S", "S"]
    accuracy = group[0].line.get("accuracy")
    label = f"{group[0].name} {'×'.join(shape)}{f' {accuracy}' if accuracy else ''}"
    work = [math.prod(r.shape[-2:]) * r.shape[0] if axis == "picture size" else r.shape[0] for r in group]
    x, ours = [of(row) for row in group], [row.us[row.ours or ""] for row in group]
    rates = [1e6 * w / us.median for w, us in zip(work, ours, strict=True)]
    ends = [(1e6 * w / us.high, 1e6 * w / us.low) for w, us in zip(work, ours, strict=True)]
    made = [Line(label, x, rates, ends, series=number)]
    best = [
        (at, w, row.peers[name].median)
        for at, w, row in zip(x, work, group, strict=True)
        if (name := _best(row))
    ]
    if best:
        theirs = [1e6 * w / us for _, w, us in best]
        made.append(Line(label, [at for at, _, _ in best], theirs, dashed=True, series=number))
    return made


def _quality(results: Sequence[Result]) -> Section | None:
    if not results:
        return None
    over_time, over_steps = [], []
    for number, (name, rows) in enumerate(_grouped(results, lambda row: row.name).items()):
        rows = sorted((row for row in rows if row.ours is not None), key=lambda row: row.line["steps"])
        fid, steps = [row.line["fid"] for row in rows], [row.line["steps"] for row in rows]
        times = [row.us[row.ours or ""].median / 1e3 / row.shape[0] for row in rows]
        notes = [str(step) for step in steps]
        over_time.append(Line(name, times, fid, series=number, notes=notes))
        over_steps.append(Line(name, steps, fid, series=number))
    first = results[0].line
    plots = [
        lines("FID against time; numbers are steps", over_time, "milliseconds a picture", "FID"),
        lines("FID against steps", over_steps, "steps", "FID"),
    ]
    words = (
        f"{first.get('workload')}, {first.get('count')} pictures each, by the project's own extractor: lower is "
        f"better, {_number(first.get('real_fid'))} is what as many real pictures have beside the others."
    )
    return Section("quality", "Quality against time", words, plots, [_qualities(results)])


def _qualities(results: Sequence[Result]) -> Table:
    columns = ("sampler", "steps", "evaluations", "FID", "ms a picture", "error", "PyTorch's")
    rows = []
    for row in results:
        ours = row.us.get(row.ours or "")
        milliseconds = _number(ours.median / 1e3 / row.shape[0]) if ours else ""
        errors = (_number(row.line.get(name)) for name in ("error", "torch_error"))
        counts = (str(row.line[name]) for name in ("steps", "evaluations"))
        rows.append((row.name, *counts, _number(row.line["fid"]), milliseconds, *errors))
    return Table(f"{len(rows)} rows", columns, rows, frozenset(columns[1:]))


def _memory(results: Sequence[Result]) -> Section | None:
    columns = ("case", "who", "MB", "of the largest")
    rows = []
    for result in results:
        peaks = {who: mb for who, mb in (result.line.get("peak_mb") or {}).items() if mb is not None}
        rows += [
            (f"{result.op}: {result.label}", who, _number(mb), f"{mb / max(peaks.values()):.0%}")
            for who, mb in peaks.items()
            if max(peaks.values())
        ]
    words = "How far a call raises the peak of resident memory, each in a process of its own."
    table = Table(f"{len(rows)} peaks", columns, rows, frozenset(columns[2:]))
    return Section("memory", "Peak memory", words, (), [table]) if rows else None


def _cards(cards: Sequence[Mapping[str, Any]]) -> Section | None:
    if not cards:
        return None
    targets: dict[str, dict[tuple[str, str, str], list[Mapping[str, Any]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for card in cards:
        targets[card["target"]][card["kernel"], card["backend"], card["dtype"]].append(card)
    columns = (
        "kernel",
        "cards",
        "registers",
        "spilled bytes",
        "shared bytes",
        "occupancy",
        "tensor cores",
        "× least bytes",
    )
    tables = [
        Table(
            f"{target}: {len(kernels)} kernels",
            columns,
            [(", ".join(of), *_card(several)) for of, several in sorted(kernels.items())],
            frozenset(columns[1:]),
        )
        for target, kernels in sorted(targets.items())
    ]
    words = "Read from binaries compiled offline; the worst of each kernel's calls. None of this is a time."
    return Section("cards", "Kernel cards", words, (), tables)


def _card(several: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    worst = [
        str(max(card[name] for card in several)) for name in ("registers", "spill_bytes", "shared_bytes")
    ]
    tensor = sum(bool(card["tensor_core"]) for card in several)
    over = [card["touched"] / card["minimum"] for card in several if card["minimum"]]
    occupancy = f"{min(card['occupancy'] for card in several):.0%}"
    return (str(len(several)), *worst, occupancy, str(tensor or ""), f"{max(over):.2f}" if over else "")


def _number(value: float | None) -> str:
    """Three figures, or all of a large one's."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def plots_of(several: Sequence[Section]) -> list[Plot]:
    """All, in order."""
    return [plot for section in several for plot in section.plots]
