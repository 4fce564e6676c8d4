"""Rows on disk as whoever reads them needs them: which case, whose times and how sure, how large the error.

Rows written before there were intervals have a median and a first decile: their interval is as wide to both sides as
the decile is away, which is the spread of laps and wider than the median's own.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from genfuse_bench.measurement import Interval, quotient

CASE = (
    "op",
    "workload",
    "solver",
    "steps",
    "shape",
    "dtype",
    "accuracy",
    "threads",
    "device",
    "peer",
    "who",
    "gradients",
)
"""What two rows share that measure the same; and whether caches were cold."""

FOLDER = "bench/results"
"""Where a revision has its committed rows."""


def case_of(line: Mapping[str, Any]) -> str:
    """The same for rows that measure the same."""
    return str([*(line.get(name) for name in CASE), cache_of(line) == "cold"])


def cache_of(line: Mapping[str, Any]) -> str:
    """warm, or cold."""
    return str((line.get("timing") or {}).get("cache", "warm"))


@dataclass(frozen=True)
class Result:
    """A row with times."""

    line: Mapping[str, Any]
    us: dict[str, Interval]
    """by competitor; none of ours where its error is too large"""
    ratio: dict[str, Interval]
    """by competitor, its time over ours"""
    confidence: float | None
    """of the intervals; None of a row that is older than them"""
    contended: bool

    @property
    def op(self) -> str:
        """What was measured."""
        return str(self.line["op"])

    @cached_property
    def ours(self) -> str | None:
        """The competitor that the row is about; None where it may have no speed."""
        names = ("ours", f"ours {self.line.get('accuracy')}", str(self.line.get("who")))
        return next((name for name in names if name in self.us), None)

    @property
    def peers(self) -> dict[str, Interval]:
        """Times of others than ours, floors left out."""
        return {
            name: us for name, us in self.us.items() if not is_ours(name) and name not in ("floor", self.ours)
        }

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what was computed; empty where rows have none."""
        return tuple(self.line.get("shape") or ())

    @property
    def name(self) -> str:
        """The workload or solver."""
        return str(self.line.get("workload") or self.line.get("solver") or self.op)

    @property
    def label(self) -> str:
        """The case in words, without the op."""
        line = self.line
        words = [line.get("workload"), line.get("solver"), "×".join(map(str, self.shape)), line.get("dtype")]
        words += [line.get("accuracy"), "with gradients" if line.get("gradients") else None, line.get("who")]
        words += [f"{line['steps']} steps" if line.get("steps") else None]
        words += [f"{line['threads']} threads" if line.get("threads") else None]
        words += ["cold" if cache_of(line) == "cold" else None]
        return ", ".join(str(word) for word in words if word)


def is_ours(name: str) -> bool:
    """Whether a competitor is one of genfuse's forms."""
    return name == "face" or name.startswith("ours")


def read(lines: Iterable[str], where: str) -> list[Result]:
    """Rows with times out of JSON lines; others are left out. ValueError for what is no JSON object with an op."""
    found = []
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{where}, line {number} is no JSON: {error}") from None
        if not isinstance(line, dict) or "op" not in line:
            raise ValueError(f"{where}, line {number} is no row of `genfuse bench`: it has no op")
        result = _result(line)
        if result is not None:
            found.append(result)
    return found


def load(source: str) -> dict[str, list[Result]]:
    """Rows by file: of a file, of a folder's *.jsonl, of a git revision's committed ones, or of REVISION:PATH.

    ValueError where source is none of these, or holds nothing.
    """
    path = Path(source)
    if path.is_file():
        return {path.name: read(_lines(path), source)}
    if path.is_dir():
        files = sorted(path.rglob("*.jsonl"))
        found = {str(file.relative_to(path)): read(_lines(file), str(file)) for file in files}
    else:
        found = _committed(source)
    if not found:
        raise ValueError(f"{source} has no results (*.jsonl)")
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: {error}") from None


def _committed(source: str) -> dict[str, list[Result]]:
    revision, _, file = source.partition(":")
    if (
        not revision
        or revision.startswith("-")
        or _git("rev-parse", "--verify", f"{revision}^{{commit}}") is None
    ):
        raise ValueError(f"{source} is no file, no folder and no revision of the git repository here")
    root = _git("rev-parse", "--show-toplevel") or "."
    listed = _git("-C", root.strip(), "ls-tree", "-r", "--name-only", revision, "--", file or FOLDER) or ""
    names = [name for name in listed.splitlines() if name.endswith(".jsonl")]
    texts = {name: _git("show", f"{revision}:{name}") or "" for name in names}
    return {
        (Path(name).name if file else name.removeprefix(f"{FOLDER}/")): read(
            text.splitlines(), f"{revision}:{name}"
        )
        for name, text in texts.items()
    }


def _git(*arguments: str) -> str | None:
    """git's answer here; None where it refuses, or is not installed."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def _result(line: dict[str, Any]) -> Result | None:
    timing = line.get("timing")
    if timing is not None:
        us = {
            who: Interval(low, timing["us"][who], high) for who, (low, high) in timing["interval_us"].items()
        }
        ratio = {who: Interval(*ends) for who, ends in timing["ratio"].items()}
        return Result(line, us, ratio, timing["confidence"], timing["contended"])
    us = _without_intervals(line)
    if not us:
        return None
    old = Result(line, us, {}, None, bool(line.get("contended")))
    if old.ours is None:
        return old
    ratio = {who: quotient(us[who], us[old.ours]) for who in us if who != old.ours}
    return Result(line, us, ratio, None, old.contended)


def _without_intervals(line: Mapping[str, Any]) -> dict[str, Interval]:
    """µs by competitor, of every shape that rows had."""
    accuracy = f"ours {line['accuracy']}" if line.get("accuracy") else "ours"
    alone = {f"{name} bare": ms for name, ms in (line.get("bare_ms") or {}).items()}
    milliseconds = {
        accuracy: line.get("ours_ms"),
        f"{accuracy} planar": line.get("planar_ms"),
        "ours low": line.get("low_ms"),
    }
    milliseconds |= {f"{accuracy} guarded": line.get("guarded_ms"), **(line.get("peers_ms") or {}), **alone}
    fastest = _scaled(line.get("fastest_us") or {}, 1) or _scaled(line.get("fastest_ms") or {}, 1e3)
    if "floor" in fastest:  # else it was not measured but counted
        milliseconds["floor"] = line.get("floor_ms")
    us: dict[str, Any] = {name: line.get(f"{name}_us") for name in ("ours", "face", "peer", "floor")}
    if "who" in line:
        us[line["who"]] = line.get("us")
        fastest[line["who"]] = line.get("fastest_us") or math.inf
    us |= {name: 1e3 * ms for name, ms in milliseconds.items() if ms is not None}
    return {
        name: Interval(
            min(fastest.get(name, median), median),
            median,
            max(2 * median - fastest.get(name, median), median),
        )
        for name, median in us.items()
        if median is not None
    }


def _scaled(times: Any, factor: float) -> dict[str, float]:
    """By competitor; the smallest where they are by allocator first."""
    if not isinstance(times, dict):
        return {}
    flat: dict[str, float] = {}
    for name, value in times.items():
        for who, time in (value if isinstance(value, dict) else {name: value}).items():
            flat[who] = min(flat.get(who, factor * time), factor * time)
    return flat
