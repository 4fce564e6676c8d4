"""What was fused in a model, what was not, and why."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from itertools import chain

from rich.console import Console, Group
from rich.table import Table

from genfuse import env
from genfuse.measured import Measured
from genfuse.rewrite.plan import Planned


@dataclass(frozen=True)
class Fused:
    """One unit: its convolution's name, the steps it does, in order, and the bytes of its packed weights."""

    name: str
    steps: tuple[str, ...]
    algorithm: str
    """"winograd" or "direct", or "aten" where PyTorch's own kernels run; of the forward, where there are gradients."""
    packed_bytes: int


@dataclass(frozen=True)
class Left:
    """A layer that stays PyTorch's."""

    name: str
    reason: str


@dataclass
class GraphReport:
    """Of one graph: the model, or a part of it, for one form of its inputs, one mode and one gradient state."""

    inputs: str = ""
    gradients: bool = False
    fused: list[Fused] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """layers whose units keep their input for backward, where `memory="low"` had the choice"""
    recomputed: list[str] = field(default_factory=list)
    """layers whose units compute their input again in backward"""
    norms: int = 0
    """norms that no convolution follows, in kernels of their own"""
    linears: int = 0
    attentions: int = 0
    plan: Planned | None = None
    measured: dict[tuple[str, str], Measured] = field(default_factory=dict)
    """what the measurements chose for its calls, by op and call; empty where kernels run by rule"""

    def include(self, block: GraphReport) -> None:
        """What became of a part that has a graph of its own."""
        self.fused += block.fused
        self.left += block.left
        self.kept += block.kept
        self.recomputed += block.recomputed
        self.norms += block.norms
        self.linears += block.linears
        self.attentions += block.attentions

    def tell(self, choice: Measured) -> None:
        """A call ran on what was fastest."""
        self.measured[choice.op, choice.call] = choice

    def __str__(self) -> str:
        counts = (
            f"{_count(len(self.fused), 'unit')} fused, {_count(self.norms, 'norm')} alone, "
            f"{_count(self.linears, 'linear layer')}, {_count(self.attentions, 'attention')}, "
            f"{_count(len(self.left), 'layer')} left"
        )
        return f"{'with gradients' if self.gradients else 'inference'}, {self.inputs}: {counts}"

    def table(self) -> Table:
        """A row for every unit, and one for every reason why layers were left."""
        table = Table()
        for heading in ("layer", "one kernel does", "by"):
            table.add_column(heading, overflow="fold")
        for unit in self.fused:
            table.add_row(unit.name, " → ".join(unit.steps), unit.algorithm)
        for names, how in ((self.kept, "keep their input"), (self.recomputed, "compute it again")):
            if names:
                table.add_row(", ".join(names), f"for backward: {how}", "")
        for reason in dict.fromkeys(left.reason for left in self.left):
            names = [left.name for left in self.left if left.reason == reason]
            table.add_row(_several(names), f"left to PyTorch: {reason}", "aten")
        for choice in self.measured.values():
            gain = (
                f"{choice.by_rule * 1e6:.0f} → {choice.seconds * 1e6:.0f} µs"
                if choice.is_gain
                else "as by rule"
            )
            table.add_row(choice.op, f"measured, {gain}: {choice.call}", str(choice))
        if self.plan is not None and self.plan.obstacle:
            table.add_row("the whole", f"without a plan: {self.plan.obstacle}", "")
        return table


@dataclass
class Report:
    """Of every graph that was made so far; printing it gives a table a graph."""

    graphs: list[GraphReport] = field(default_factory=list)
    guards_kept: str | None = None
    """why the last call of a frozen model could not go straight to a plan"""

    @property
    def fused(self) -> list[Fused]:
        """Of all graphs."""
        return list(chain.from_iterable(graph.fused for graph in self.graphs))

    @property
    def left(self) -> list[Left]:
        """Of all graphs."""
        return list(chain.from_iterable(graph.left for graph in self.graphs))

    @property
    def plans(self) -> list[Planned]:
        """One a graph."""
        return [graph.plan for graph in self.graphs if graph.plan is not None]

    @property
    def plan_bytes(self) -> int:
        """Memory for activations that the plans made so far hold."""
        return sum(plan.nbytes for plan in self.plans)

    @property
    def weight_bytes(self) -> int:
        """Memory that the packed weights of all convolutions take, each counted once."""
        return sum({(unit.name, unit.algorithm): unit.packed_bytes for unit in self.fused}.values())

    def clear(self) -> None:
        """Forget all plans."""
        for plan in self.plans:
            plan.clear()

    def __str__(self) -> str:
        text = io.StringIO()
        # text alone: in a notebook rich would show it at once and leave this empty, or colour it
        Console(width=110, file=text, force_terminal=False, force_jupyter=False).print(self)
        return text.getvalue()

    def __rich__(self) -> Group:
        held = (
            f"{_count(len(self.graphs), 'graph')}; plans hold {self.plan_bytes / 2**20:.1f} MiB, "
            f"packed weights {self.weight_bytes / 2**20:.1f} MiB; scratch of this process at most "
            f"{env.scratch_peak_bytes() / 2**20:.1f} MiB"
        )
        notes = [f"frozen calls go behind Dynamo's guards: {self.guards_kept}"] if self.guards_kept else []
        return Group(held, *notes, *(Group(f"\n{graph}", graph.table()) for graph in self.graphs))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _several(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
