"""The strides that tensors have in the model, for whoever depends on them: units write images channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from genfuse.ops.running_stats import update_running_stats
from genfuse.rewrite import patterns
from genfuse.rewrite.plan import lasts

_READ_STRIDES: set[Any] = {
    torch.as_strided,
    torch.as_strided_scatter,
    torch.view_as_complex,
    torch.Tensor.view,
    torch.Tensor.view_as,
    torch.Tensor.as_strided,
    "as_strided",
    "as_strided_scatter",
    "data_ptr",
    "is_contiguous",
    "stride",
}
"""Calls whose result depends on how their inputs lie in memory."""

_READ_MEMORY = ("as_strided", "set", "storage", "untyped_storage", "data_ptr")
"""Names, but for how they end, of calls that may read what lies around a tensor."""


def reads_around(module: GraphModule, inputs: Sequence[Any]) -> bool:
    """Whether some call may read memory around an argument, which a copy of the argument has not."""
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    given = [node for node, value in zip(placeholders, inputs, strict=True) if not lasts(value)]
    for graph in (each.graph for each in module.modules() if isinstance(each, GraphModule)):
        for node in graph.nodes:
            name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
            name = name.partition(".")[0].rstrip("_").removesuffix("_copy").removesuffix("_scatter")
            if not node.op.startswith("call_") or name not in _READ_MEMORY:
                continue
            memories = {patterns.memory(source) for source in node.all_input_nodes}
            if graph is not module.graph or not memories.isdisjoint(map(patterns.memory, given)):
                return True
    return False


def settle_layouts(graph: Graph) -> None:
    """The model's own layouts where they can be told: for what draws, edits or reads strides, and for the caller.

    Everywhere else a view of an image may have to be a copy.
    """
    for node in list(graph.nodes):
        if node.target is update_running_stats:  # an edit, but not of the image, and the same in any layout
            continue
        if patterns.draws(node) or not patterns.is_settled(node) or node.target in _READ_STRIDES:
            _put_back_inputs(node)
        elif node.op == "call_method" and node.target in ("view", "view_as"):
            _reshape(node)
    (output,) = (node for node in graph.nodes if node.op == "output")
    _put_back_inputs(output)


def _reshape(node: Node) -> None:
    """Makes a view to another shape a copy where it has to be; one to another dtype keeps its input's strides."""
    if node.target == "view_as":
        node.target = "reshape_as"
        return
    size = node.kwargs.get("size", node.args[1] if len(node.args) > 1 else None)
    if size is None or isinstance(size, torch.dtype):
        _put_back_inputs(node)
        return
    node.target = "reshape"
    if "size" in node.kwargs:
        node.args, node.kwargs = (node.args[0], size), {}


def _put_back_inputs(reader: Node) -> None:
    for source in reader.all_input_nodes:
        if patterns.is_settled(source):
            _put_back(source, reader)


def _put_back(node: Node, reader: Node) -> None:
    """Gives a reader a tensor with the strides that it has in the model."""
    tensor = patterns.value(node)
    if node.op in ("placeholder", "get_attr") or tensor is None or tensor.layout != torch.strided:
        return
    with node.graph.inserting_before(reader):
        for layout, axes in ((torch.contiguous_format, None), (torch.channels_last, 4)):
            if axes in (None, tensor.ndim) and tensor.is_contiguous(memory_format=layout):
                dense = node.graph.call_method("contiguous", (node,), {"memory_format": layout})
                break
        else:
            strides = tuple(tensor.stride())
            if not all(type(stride) is int and stride > 0 for stride in strides):
                return  # of an expanded tensor, which a copy is not
            dense = node.graph.call_function(with_strides, (node, strides))
    reader.replace_input_with(node, dense)


def with_strides(x: Tensor, strides: tuple[int, ...]) -> Tensor:
    """x, or a copy, that has these strides."""
    if x.stride() == strides:
        return x
    return torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device).copy_(x)
