"""`genfuse bench TARGET...`: ops, networks and systems by their names, each measured by the bench that knows it."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from genfuse import systems
from genfuse_bench.gpu_ops import OPS
from genfuse_bench.sections import SECTIONS
from genfuse_bench.stylegan import CASES
from genfuse_bench.training_networks import NETWORKS

BENCHES: dict[str, tuple[str, Iterable[str]]] = {
    "systems": ("--systems", systems.NAMES),
    "conv_norm_act": ("--sections", SECTIONS),
    "stylegan": ("--ops", CASES),
    "training": ("--sections", NETWORKS),
    "ops": ("--ops", OPS),
}
"""A bench, its option that takes names, and those it knows; the first that knows a name measures it. On a GPU the last
comes first."""


class Targets(TyperGroup):
    """A group of which leading names may be targets in a command's place."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """TARGET... OPTION... becomes run TARGET... OPTION...; `ctx` is click's, of whichever click typer brings."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["run", *args]  # which names what is known where this is not
        return super().parse_args(ctx, args)


def bench_of(name: str, options: Sequence[str]) -> str | None:
    """The bench that measures a target; None where nobody does."""
    order = list(BENCHES)
    if any(word.startswith("cuda") for word in options):
        order = order[-1:] + order[:-1]
    return next((bench for bench in order if name in BENCHES[bench][1]), None)


def _unknown(name: str, commands: Iterable[str]) -> str:
    known: dict[str, Iterable[str]] = {
        "commands": [command for command in commands if command != "run"],
        "ops": OPS,
        "units": SECTIONS,
        "style layers": CASES,
        "networks in training": NETWORKS,
        "systems": systems.NAMES,
    }
    near = difflib.get_close_matches(name.lower(), set(itertools.chain(*known.values())), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = "; ".join(f"{kind}: {', '.join(sorted(names))}" for kind, names in known.items())
    return f"{name!r} is no command, op, network or system{hint}\n\n{listed}"


def run(ctx: typer.Context) -> None:
    """Measure ops, networks and systems by name; options go to the benches that know them."""
    words = list(ctx.args)
    names = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    options = words[len(names) :]
    group: Any = ctx.parent.command if ctx.parent else None
    by_bench: dict[str, list[str]] = {}
    for name in names:
        bench = name if name in group.commands else bench_of(name, options)
        if bench is None:
            raise typer.BadParameter(_unknown(name, group.commands), ctx.parent, param_hint="TARGET")
        by_bench.setdefault(bench, []).append(name)
    for bench, targets in by_bench.items():
        own = [] if targets == [bench] and bench not in BENCHES else [BENCHES[bench][0], ",".join(targets)]
        command = group.commands[bench]
        with command.make_context(bench, [*own, *options], parent=ctx.parent) as context:
            command.invoke(context)
