"""Norms that no convolution follows: each becomes one call, with the activation and addition behind it. And PyTorch's
instance and group norms that are left, by the calls whose gradients are right."""

from __future__ import annotations

from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor
from torch.fx import Graph, Node

from genfuse.ops.group_norm import group_norm
from genfuse.ops.instance_norm import instance_norm
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
            calls.append(_replaced(node, norm))
    return calls


_MENDED = {F.instance_norm: instance_norm, F.group_norm: group_norm}


def mend_norms(graph: Graph) -> None:
    """Instance and group norms that are left to PyTorch: that keep running statistics, of volumes."""
    for node in graph.nodes:
        if node.op == "call_function" and node.target in _MENDED:
            node.target = _MENDED[node.target]


def absorb_end(settings: Settings, taken: list[Node]) -> Settings:
    """Settings with the scale, activation and pooling that follow the last of `taken`, which they are added to."""
    while (node := patterns.only_user(taken[-1])) is not None:
        factor, act = patterns.scaled(node), patterns.activation(node)
        sloped = act is not None and act.kind == settings.activation == "leaky_relu"
        if patterns.halved(node):
            taken.append(node)
            return settings._replace(pool=patterns.by_two(node))
        if settings.out_activation != "none" or (act is not None and sloped):
            break
        if factor:
            settings = settings._replace(scale=settings.scale * factor[1])
        elif act:
            slope = act.slope if act.kind == "leaky_relu" else settings.negative_slope
            settings = settings._replace(out_activation=act.kind, negative_slope=slope)
        else:
            break
        taken.append(node)
    return settings


def _parts(norm: patterns.NormStep) -> tuple[Settings, dict[str, Any]]:
    """The settings and tensors of a call."""
    return Settings(norm=norm.kind, num_groups=norm.num_groups, eps=norm.eps), norm.tensors


def _replaced(node: Node, norm: patterns.NormStep) -> Node:
    settings, named = _parts(norm)
    taken = [node]
    behind = patterns.only_user(node)
    act = patterns.activation(behind) if behind is not None else None
    if behind is not None and act is not None:
        settings = settings._replace(activation=act.kind, negative_slope=act.slope)
        taken.append(behind)
        behind = patterns.only_user(behind)
    terms = patterns.added(behind) if behind is not None else None
    if behind is not None and terms is not None:
        other = terms[1] if terms[0] is taken[-1] else terms[0]
        if patterns.alike(other, node) and other is not taken[-1]:
            named["residual"] = other
            taken.append(behind)
    return put_in_place(taken, absorb_end(settings, taken), norm.source, named)


def put_in_place(taken: list[Node], settings: Settings, source: Node, named: dict[str, Any]) -> Node:
    """A call of the op in the place of these nodes, the last of which made its value."""
    graph, last = taken[-1].graph, taken[-1]
    with graph.inserting_before(last):
        call = graph.call_function(run_norm, (settings, False, source), named)
    call.meta = dict(last.meta)
    last.replace_all_uses_with(call)
    for each in reversed(taken):
        graph.erase_node(each)
    return call
