"""Cases in a child process, so that its end, of whatever kind, is told with the case that it came in.

The child is given `--first N --seconds S --progress FILE`. It writes a case's number to FILE before it begins with it
(`begin`), and prints a JSON line now and then: {"next": N, "ended": {outcome: count since the last line}, "defects":
[text], "peak_mib": the most memory it had}. A child that ends by a signal or a status is a defect; the next one goes on
behind its case. The record gets each line, and one that has "over" at the end: where that is missing the watching
process itself was killed, and FILE, beside the record, has the last case.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

_CASE = struct.Struct("<q")
_HINTS = {signal.SIGKILL: "as the system does where memory is short: `dmesg | grep -i 'out of memory'`"}


def begin(progress: int, case: int) -> None:
    """Tells that `case` begins; `progress` is the open file."""
    os.pwrite(progress, _CASE.pack(case), 0)


def _ended(status: int) -> str:
    if status >= 0:
        return f"the process ended with status {status}"
    what = signal.Signals(-status)
    hint = _HINTS.get(what)
    return f"the process was ended by {what.name}" + (f", {hint}" if hint else "")


class Watch:
    """What children said so far, and where it is written."""

    def __init__(self, first: int, record: Path | None) -> None:
        self.first = self.next = first
        self.record = record
        self.ended: Counter[str] = Counter()
        self.defects: list[str] = []
        self.peak_mib = 0

    def summary(self) -> dict[str, Any]:
        """Cases, how they ended, and the most memory that a child had."""
        return {"cases": self.next - self.first, **self.ended, "next": self.next, "peak_mib": self.peak_mib}

    def write(self, **more: object) -> None:
        if self.record:
            line = {"at": time.strftime("%F %T"), **self.summary(), "defects": self.defects, **more}
            with self.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def hear(self, line: str) -> None:
        told = json.loads(line)
        self.next = told["next"]
        self.ended.update(told["ended"])
        self.peak_mib = max(self.peak_mib, told["peak_mib"])
        for defect in told["defects"]:
            self.find(defect)
        self.write()

    def find(self, defect: str) -> None:
        self.defects.append(defect)
        print(defect, flush=True)

    def child(self, command: list[str], progress: Path, seconds: float) -> bool:
        """Runs one until it ends; whether it came to its own end."""
        begun = [*command, "--first", str(self.next), "--seconds", str(seconds), "--progress", str(progress)]
        progress.write_bytes(_CASE.pack(self.next))
        process = subprocess.Popen(begun, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                self.hear(line)
            status = process.wait()
        finally:
            process.kill()
            process.wait()
        if status == 0:
            return True
        (case,) = _CASE.unpack(progress.read_bytes())
        self.ended["answered or refused, then lost"] += case - self.next
        self.ended["process ended"] += 1
        self.next = case + 1
        self.find(f"case {case}: {_ended(status)}")
        return False


def tell_of_signals() -> None:
    """SIGTERM and SIGHUP end `watch` with a line in the record from here on."""

    def stop(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(f"stopped by {signal.Signals(number).name}")

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def watch(command: list[str], first: int, seconds: float, record: Path | None = None) -> Watch:
    """Runs `command` until it comes to its own end, or `seconds` are over."""
    found, end, over = Watch(first, record), time.monotonic() + seconds, "time"
    with tempfile.TemporaryDirectory() as folder:
        progress = record.with_suffix(".case") if record else Path(folder) / "case"
        try:
            while not found.child(command, progress, max(0.0, end - time.monotonic())):
                if time.monotonic() >= end:
                    break
        except BaseException as error:
            over = str(error) or type(error).__name__
            raise
        finally:
            found.write(over=over)
    return found
