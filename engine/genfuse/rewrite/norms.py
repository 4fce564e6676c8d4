"""Norms that no convolution follows: each becomes one call, with the activation and addition behind it."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor
from torch.fx import Graph, Node

from genfuse.ops.norm_act import unit
from genfuse.rewrite import patterns
from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings


def run_norm(settings: Settings, return_stats: bool, x: Tensor, **named: Any) -> Any:
    """What the rewritten graph calls."""
    out, stats = unit(x, settings, cast(NormTensors, named), return_stats)
    return (out, stats) if return_stats else out


def fuse_norms(graph: Graph) -> list[Node]:
    """Replaces every norm of images, or of sequences (N, C, L), that a unit knows; returns the calls."""
    calls = []
    for node in list(graph.nodes):
        norm = patterns.norm(node)
        if norm is not None and len(patterns.shape(node) or ()) in (3, 4):
            calls.append(_replaced(graph, node, norm))
    return calls


def _parts(norm: patterns.NormStep) -> tuple[Settings, dict[str, Any]]:
    """The settings and tensors of a call."""
    named = {
        "norm_weight": norm.weight,
        "norm_bias": norm.bias,
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
    }
    settings = Settings(norm=norm.kind, num_groups=norm.num_groups, eps=norm.eps)
    return settings, {name: node for name, node in named.items() if node is not None}


def _replaced(graph: Graph, node: Node, norm: patterns.NormStep) -> Node:
    settings, named = _parts(norm)
    taken, place = [node], {each: i for i, each in enumerate(graph.nodes)}
    behind = _reader(taken)
    act = patterns.activation(behind) if behind is not None else None
    if behind is not None and act is not None:
        settings = settings._replace(activation=act.kind, negative_slope=act.slope)
        taken.append(behind)
        behind = _reader(taken)
    terms = patterns.added(behind) if behind is not None else None
    if behind is not None and terms is not None:
        other = terms[1] if terms[0] is taken[-1] else terms[0]
        alike = (
            patterns.shape(other) == patterns.shape(node)
            and patterns.value(other).dtype == patterns.value(node).dtype
        )
        if alike and other is not taken[-1] and place[other] < place[behind]:
            named["residual"] = other
            taken.append(behind)
    behind = _reader(taken)
    if behind is not None and patterns.halved(behind):
        settings = settings._replace(pool=patterns.by_two(behind))
        taken.append(behind)
    with graph.inserting_before(taken[-1]):
        call = graph.call_function(run_norm, (settings, False, norm.source), named)
    call.meta = dict(taken[-1].meta)
    taken[-1].replace_all_uses_with(call)
    for each in reversed(taken):
        graph.erase_node(each)
    return call


def _reader(taken: list[Node]) -> Node | None:
    """What alone reads the last node, past those that hand it on, which are taken too."""
    while (behind := patterns.only_user(taken[-1])) is not None and patterns.unchanged(behind):
        taken.append(behind)
    return behind
