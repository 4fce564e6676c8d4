"""What the layers of a graph are called in the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.fx import Graph, Node


def parameter_names(model: nn.Module) -> dict[int, str]:
    """Names of parameters and buffers by their identity."""
    return {id(t): name for name, t in (*model.named_parameters(), *model.named_buffers())}


def name_parameters(graph: Graph, inputs: list[Any], names: Mapping[int, str]) -> None:
    """Writes on the graph's placeholders which parameter each stands for; `inputs` are their values."""
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for node, value in zip(placeholders, inputs, strict=True):
        if id(value) in names:
            node.meta["parameter"] = names[id(value)]


def name_of(weight: Node) -> str:
    """The layer that a parameter belongs to, as far as the graph tells."""
    layer, _, parameter = str(weight.meta.get("parameter", weight.name)).rpartition(".")
    return layer or parameter
