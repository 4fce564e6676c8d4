"""Which call measures what a norm normalises by: the unit that made its input, while it writes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import Graph, Node

from genfuse.ops.norm_stats import stats_of
from genfuse.ops.running_stats import update_running_stats
from genfuse.rewrite import patterns
from genfuse.rewrite.synchronised import stats_over
from genfuse_kernels.conv_norm_act.settings import Settings
from genfuse_kernels.conv_norm_act.spec import cpu_gradient_limit

_OF_SAMPLES = ("group", "instance", "layer")


def hand_on_statistics(graph: Graph, calls: Collection[Node]) -> None:
    """In inference: a norm takes its statistics from the `calls` that made its input, where units or norms made all."""
    makers = set(calls)
    wanted = {call: _read_by(call) for call in calls if _settings(call).norm in _OF_SAMPLES}
    wanted = {call: nodes for call, nodes in wanted.items() if makers.issuperset(nodes)}
    stats = _with_statistics(graph, [node for nodes in wanted.values() for node in nodes])
    for call, nodes in wanted.items():
        _give(graph, call, [stats[node] for node in nodes])


def hand_on_measured(graph: Graph, units: Iterable[Node]) -> None:
    """In training: units, and what processes exchange, take them from units; running statistics what the norm takes.

    Of a unit whose output is activated or pooled a further pass makes the output, and one by PyTorch's kernels would
    measure with those.
    """
    units = list(units)
    sources = {unit for unit in units if _measures_its_output(unit)}
    reading = {unit: _read_by(unit) for unit in units if _measures_its_input(unit)}
    running = {unit: _running_of(graph, nodes) for unit, nodes in reading.items()}
    handed_on = [node for nodes in reading.values() if sources.issuperset(nodes) for node in nodes]
    exchanged = {n: n.args[0] for n in graph.nodes if n.target is stats_over and n.args[0] in sources}
    stats = _with_statistics(graph, (*handed_on, *exchanged.values()))
    for node, source in exchanged.items():
        node.kwargs = {"of_sample": stats[source]}
    for unit, nodes in reading.items():
        if running[unit] and nodes[0] not in stats:
            with graph.inserting_before(min(running[unit])):
                stats[nodes[0]] = graph.call_function(stats_of, (nodes[0], None))
        if all(node in stats for node in nodes):
            _give(graph, unit, [stats[node] for node in nodes], measured=True)
        for update in running[unit]:
            update.kwargs = {**update.kwargs, "stats": stats[nodes[0]]}


def _running_of(graph: Graph, images: list[Node]) -> list[Node]:
    """The updates of running statistics by those of an image."""
    return [n for n in graph.nodes if n.target is update_running_stats and [n.args[0]] == images]


def _read_by(call: Node) -> list[Node]:
    """The images that a unit or norm reads as one."""
    return [source for source in (call.args[2], call.kwargs.get("skip")) if isinstance(source, Node)]


def _measures_its_input(unit: Node) -> bool:
    given = any(name in unit.kwargs for name in ("running_mean", "stats"))
    return _settings(unit).norm in (*_OF_SAMPLES, "batch") and not given and _trains_on_ours(unit)


def _measures_its_output(unit: Node) -> bool:
    settings = _settings(unit)
    return settings.out_activation == "none" and settings.pool == (1, 1) and _trains_on_ours(unit)


def _trains_on_ours(unit: Node) -> bool:
    weight: Any = unit.args[3]
    return cpu_gradient_limit(patterns.shape(weight) or (), _settings(unit)) is None


def _with_statistics(graph: Graph, sources: Iterable[Node]) -> dict[Node, Node]:
    """Has these calls return what they measured; where it is."""
    stats: dict[Node, Node] = {}
    for source in dict.fromkeys(sources):
        source.args = (source.args[0], True, *source.args[2:])
        with graph.inserting_after(source):
            stats[source] = graph.call_function(_second, (source,))
            output = graph.call_function(first, (source,))
        output.meta = dict(source.meta)
        for user in [user for user in source.users if user not in (stats[source], output)]:
            user.replace_input_with(source, output)
    return stats


def _give(graph: Graph, call: Node, stats: list[Node], **named: Any) -> None:
    with graph.inserting_before(call):
        given = stats[0] if len(stats) == 1 else graph.call_function(torch.cat, (stats, 1))
    call.kwargs = {**call.kwargs, "stats": given, **named}


def _settings(call: Node) -> Settings:
    settings: Any = call.args[0]
    return cast(Settings, settings)


def first(pair: tuple[Tensor, Tensor]) -> Tensor:
    return pair[0]


def _second(pair: tuple[Tensor, Tensor]) -> Tensor:
    return pair[1]
