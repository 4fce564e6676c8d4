"""What was fused in a model, what was not, and why."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.table import Table

from genfuse.rewrite.plan import Planned


@dataclass(frozen=True)
class Fused:
    """One unit: its convolution's parameter, the steps it does, in order, and the bytes of its packed weights."""

    name: str
    steps: tuple[str, ...]
    algorithm: str
    packed_bytes: int


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
    """norms of images that no convolution follows, in kernels of their own"""
    linears: int = 0
    attentions: int = 0
    graphs: int = 0
    plans: list[Planned] = field(default_factory=list)
    """one a graph"""
    guards_kept: str | None = None
    """why the last call of a frozen model could not go straight to a plan"""

    @property
    def plan_bytes(self) -> int:
        """Memory for activations that the plans made so far hold."""
        return sum(plan.nbytes for plan in self.plans)

    @property
    def weight_bytes(self) -> int:
        """Memory that the packed weights of all convolutions take, each counted once."""
        return sum({(unit.name, unit.algorithm): unit.packed_bytes for unit in self.fused}.values())

    def __str__(self) -> str:
        text = io.StringIO()
        Console(width=110, file=text).print(self)
        return text.getvalue()

    def __rich__(self) -> Group:
        counts = (
            f"{len(self.fused)} units fused, {self.norms} norms alone, {self.linears} linear layers, "
            f"{self.attentions} attentions, {len(self.left)} convolutions left"
        )
        held = f"plans hold {self.plan_bytes / 2**20:.1f} MiB, packed weights {self.weight_bytes / 2**20:.1f} MiB"
        table = Table()
        for heading in ("convolution", "one kernel does", "algorithm"):
            table.add_column(heading, overflow="fold")
        for unit in self.fused:
            table.add_row(unit.name, " → ".join(unit.steps), unit.algorithm)
        for conv in self.left:
            table.add_row(conv.name, f"PyTorch's own: {conv.reason}", "aten")
        for number, plan in enumerate(self.plans):
            if plan.obstacle:
                table.add_row(f"graph {number}", f"without a plan: {plan.obstacle}", "")
        if self.guards_kept:
            table.add_row("frozen calls", f"behind Dynamo's guards: {self.guards_kept}", "")
        return Group(f"{counts}\nin {self.graphs} graphs; {held}", table)
