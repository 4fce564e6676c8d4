"""Whether other processes took part of the machine meanwhile."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Load:
    """Processor seconds so far: of the whole machine (None off Linux) and of this process; and the time."""

    machine: float | None
    own: float
    at: float

    @classmethod
    def now(cls) -> Load:
        """Read the counters."""
        return cls(_busy_seconds(), time.process_time(), time.monotonic())

    def disturbed_since(self, before: Load) -> bool:
        """Whether others took more than a tenth of a core; two ticks of 10 ms are let pass."""
        if self.machine is None or before.machine is None:
            return False
        others = (self.machine - before.machine) - (self.own - before.own)
        return others > 0.1 * (self.at - before.at) + 0.02


def _busy_seconds() -> float | None:
    """Busy time of all cores together, what the hypervisor took included."""
    try:
        with Path("/proc/stat").open(encoding="ascii") as lines:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, lines.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
