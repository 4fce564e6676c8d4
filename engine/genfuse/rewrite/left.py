"""The layers that stay PyTorch's, and why."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Graph, Node

from genfuse.rewrite import patterns, traceable
from genfuse.rewrite.names import name_of
from genfuse.rewrite.report import Left

_ATTENTION = (F.scaled_dot_product_attention, torch._C._nn.scaled_dot_product_attention)
_CONVOLUTIONS = (torch.conv3d, torch.conv_transpose3d)


def left_norms_and_tokens(graph: Graph) -> list[Left]:
    """Norms, linear layers, attention and convolutions over three dimensions that are still in the graph."""
    found = [(node, _reason(node)) for node in graph.nodes if node.op == "call_function"]
    return [Left(_name(node), reason) for node, reason in found if reason is not None]


def _name(node: Node) -> str:
    """Of the parameter that the layer reads, or the node's own."""
    weights = [each for each in node.all_input_nodes if "parameter" in each.meta]
    return name_of(weights[0]) if weights else node.name


def _reason(node: Node) -> str | None:
    target: Any = node.target
    if target in _CONVOLUTIONS:
        return "a convolution over three dimensions"
    if target not in (
        F.batch_norm,
        traceable.batch_norm,
        F.instance_norm,
        F.group_norm,
        F.layer_norm,
        *patterns.LINEAR,
        *_ATTENTION,
    ):
        return None
    tensor, given = patterns.value(node), patterns.arguments(node) or {}
    if tensor is None or patterns.shape(node) is None:
        return "its sizes are not known"
    if target is traceable.batch_norm or (target is F.batch_norm and given.get("training")):
        return "batch norm in training updates its running statistics"
    if target is F.instance_norm and given.get("running_mean") is not None:
        return "instance norm with running statistics"
    if target is F.layer_norm:
        return "layer norm of tokens"
    if target in _ATTENTION:
        return "attention with a mask, dropout, causal order or heads of several sizes"
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"
