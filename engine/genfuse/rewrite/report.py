"""What was fused in a model, what was not, and why."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Fused:
    """One unit: its convolution's parameter, and the steps it does, in order."""

    name: str
    steps: tuple[str, ...]
    algorithm: str


@dataclass(frozen=True)
class Left:
    """A convolution that stays PyTorch's."""

    name: str
    reason: str


@dataclass
class Report:
    """Of every graph that was made so far; printing it gives the table."""

    fused: list[Fused] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    norms: int = 0
    """norms that no convolution follows, in kernels of their own"""
    graphs: int = 0

    def __str__(self) -> str:
        text = io.StringIO()
        Console(width=110, file=text).print(self)
        return text.getvalue()

    def __rich__(self) -> Table:
        counts = f"{len(self.fused)} units fused, {self.norms} norms alone, {len(self.left)} left"
        table = Table(title=f"{counts}, in {self.graphs} graphs")
        for heading in ("convolution", "one kernel does", "algorithm"):
            table.add_column(heading, overflow="fold")
        for unit in self.fused:
            table.add_row(unit.name, " → ".join(unit.steps), unit.algorithm)
        for conv in self.left:
            table.add_row(conv.name, f"PyTorch's own: {conv.reason}", "aten")
        return table
