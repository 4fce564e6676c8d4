"""Rows as JSON lines on disk, each with the machine, the versions and the commit that gave it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import Field, asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol

from genfuse_bench.machine import Machine
from genfuse_bench.results import case_of


class Row(Protocol):
    """A dataclass that says which op it is of."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def op(self) -> str: ...


class Record:
    """A file of JSON lines. A new row takes the place of an earlier one of the same case; others stay."""

    def __init__(self, path: Path) -> None:
        """Read what is there. OSError where path cannot be written, ValueError where it holds something else."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._lines: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            self._lines[case_of(json.loads(line))] = line

    @property
    def lines(self) -> list[str]:
        """All rows."""
        return list(self._lines.values())

    def add(self, rows: Iterable[Row], machine: Machine) -> None:
        """Put rows into the file."""
        for row in rows:
            line = json_line(row, machine)
            self._lines[case_of(json.loads(line))] = line
        self.path.write_text("".join(f"{line}\n" for line in self._lines.values()), encoding="utf-8")


def json_line(row: Row, machine: Machine) -> str:
    """The row, and where it was measured; null for what is no finite number, which JSON does not have."""
    where = {
        "commit": machine.commit,
        "dirty": machine.dirty,
        "machine": machine.describe(),
        "versions": machine.versions,
    }
    return json.dumps(_finite({**asdict(row), **where}), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, (list, tuple)) else value
