"""Batch norms in training: what they normalise is pulled apart from what they remember."""

from __future__ import annotations

import operator
from typing import Any

import torch.nn.functional as F
from torch.fx import Graph, Node

from genfuse.ops.running_stats import count_batch, update_running_stats
from genfuse.rewrite import patterns, synchronised, traceable


def split_batch_norms(graph: Graph) -> None:
    """Puts the norm by the batch's statistics, and the update of the running ones, in the place of each."""
    for node in list(graph.nodes):
        if _counts(node):
            node.op, node.target, node.args = "call_function", count_batch, node.args[:1]
        found = patterns.arguments(node) if node.target in (F.batch_norm, traceable.batch_norm) else None
        if found is None or len(patterns.shape(node) or ()) not in (3, 4):
            continue
        if node.target is traceable.batch_norm and found["group"] is not None:
            _split_synchronised(graph, node, found)
        elif node.target is traceable.batch_norm:
            _split(graph, node, found, found["momentum"])
        elif found.get("training") and patterns.is_number(found.get("momentum", 0.1)):
            _split(graph, node, found, float(found.get("momentum", 0.1)))


def _counts(node: Node) -> bool:
    """Whether a call is a batch norm's count of its batches."""
    if (node.op, node.target) != ("call_method", "add_") or node.args[1:] != (1,) or node.users:
        return False
    return str(node.args[0].meta.get("parameter", "")).endswith("num_batches_tracked")  # type: ignore[union-attr]


def _split(graph: Graph, node: Node, found: dict[str, Any], momentum: float | None) -> None:
    running = found.get("running_mean"), found.get("running_var")
    counted = {name: found[name] for name in ("num_batches_tracked",) if name in found}
    with graph.inserting_after(node):
        graph.call_function(update_running_stats, (found["input"], *running, momentum), counted)
    node.target = patterns.by_batch
    node.args = (found["input"], found.get("weight"), found.get("bias"), float(found.get("eps", 1e-5)))
    node.kwargs = {}


def _split_synchronised(graph: Graph, node: Node, found: dict[str, Any]) -> None:
    """Both go by what the processes exchange, once."""
    x, momentum = found["input"], found["momentum"]
    with graph.inserting_before(node):
        exchanged = graph.call_function(synchronised.stats_over, (x, found["group"]))
        of_samples, of_all, count = (
            graph.call_function(operator.getitem, (exchanged, place)) for place in range(3)
        )
    with graph.inserting_after(node):
        graph.call_function(
            update_running_stats,
            (x, found["running_mean"], found["running_var"], momentum),
            {"stats": of_all, "num_batches_tracked": found["num_batches_tracked"], "count": count},
        )
    node.target = synchronised.by_stats
    node.args, node.kwargs = (x, found["weight"], found["bias"], float(found["eps"]), of_samples), {}
