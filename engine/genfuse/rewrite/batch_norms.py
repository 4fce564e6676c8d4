"""Batch norms in training: what they normalise is pulled apart from what they remember."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch.fx import Graph, Node

from genfuse.ops.running_stats import update_running_stats
from genfuse.rewrite import patterns


def split_batch_norms(graph: Graph) -> None:
    """Puts the norm by the batch's statistics, and the update of the running ones, in the place of each."""
    for node in list(graph.nodes):
        found = patterns.arguments(node) if node.target is F.batch_norm else None
        if found is None or not found.get("training") or len(patterns.shape(node) or ()) not in (3, 4):
            continue
        if not patterns.is_number(found.get("momentum", 0.1)):
            continue
        _split(graph, node, found)


def _split(graph: Graph, node: Node, found: dict[str, Any]) -> None:
    running = found.get("running_mean"), found.get("running_var")
    with graph.inserting_after(node):
        graph.call_function(
            update_running_stats, (found["input"], *running, float(found.get("momentum", 0.1)))
        )
    node.target = patterns.by_batch
    node.args = (found["input"], found.get("weight"), found.get("bias"), float(found.get("eps", 1e-5)))
    node.kwargs = {}
