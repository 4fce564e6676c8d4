"""Commands of a long check, one after the other: each has a log and a limit, and none keeps the next from running."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout, where commands run."""


@dataclass(frozen=True)
class Step:
    """A command, and the seconds after which it is given up."""

    name: str
    command: list[str]
    limit: float = 7200.0
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a step went: its exit status, None where it took too long."""

    name: str
    status: int | None
    seconds: float
    log: str

    @property
    def held(self) -> bool:
        """Whether nothing is to be looked at."""
        return self.status == 0


def run(step: Step, logs: Path) -> Outcome:
    """One step, its output into a file, whatever happens to it."""
    log, begin = logs / f"{step.name}.log", time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            step.command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env=os.environ | dict(step.environment),
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(step.limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # with all that it has started
            process.wait()
            status = None
    return Outcome(step.name, status, round(time.monotonic() - begin, 1), log.name)
