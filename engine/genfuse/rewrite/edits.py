"""Calls that edit a tensor in place: made ordinary ones where nobody can tell, and kept away from units elsewhere.

So are calls where gradients are switched otherwise than where the graph begins. A unit stands where its last call stood
and reads what its first one read: nothing that it reads may be edited between.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Graph, Node

from genfuse.ops.running_stats import count_batch, update_running_stats
from genfuse.rewrite import patterns, traceable

_OPERATORS = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
_OTHER_OPERATORS = (
    operator.setitem,
    operator.delitem,
    *(
        getattr(operator, f"i{name}")
        for name in ("floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift", "matmul")
    ),
)


def settle(graph: Graph) -> None:
    """Takes edits out where nobody can tell, and marks all calls that must stay where and as they are."""
    switched = _switched(graph)
    for node in list(graph.nodes):
        found = edited_by(node)
        if node not in switched and len(found) == 1 and _is_private(node, found[0]):
            _make_ordinary(node)
    memories = {patterns.memory(tensor) for node in graph.nodes for tensor in edited_by(node)} - {None}
    for node in graph.nodes:
        edited = memories and not memories.isdisjoint(map(patterns.memory, (node, *node.all_input_nodes)))
        if edited or node in switched:
            patterns.unsettle(node)


def _switched(graph: Graph) -> set[Node]:
    """Calls with gradients where the graph begins without, or without where it begins with them."""
    at_start = enabled = torch.is_grad_enabled()
    found: set[Node] = set()
    for node in graph.nodes:
        to = patterns.switched_to(node)
        enabled = enabled if to is None else to
        if enabled != at_start and node.op.startswith("call_"):
            found.add(node)
    return found


def edited_by(node: Node) -> list[Node]:
    """The tensors that a call edits."""
    found: list[Any] = []
    first = node.args[0] if node.args else None
    name = str(node.target if node.op == "call_method" else getattr(node.target, "__name__", ""))
    if node.op not in ("call_function", "call_method"):
        return []
    by_name = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
    if by_name or node.target in _OPERATORS or node.target in _OTHER_OPERATORS:
        found.append(first)
    given = patterns.arguments(node) or {}
    if given.get("inplace") is True or node.kwargs.get("inplace") is True:
        found.append(given.get("input", first))
    out = node.kwargs.get("out")
    found += out if isinstance(out, (tuple, list)) else [out]
    if node.target in (F.batch_norm, F.instance_norm) and given.get("training", given.get("use_input_stats")):
        found += [given.get("running_mean"), given.get("running_var")]
    if node.target is update_running_stats:
        found += [*node.args[1:3], node.kwargs.get("num_batches_tracked")]
    if node.target is traceable.batch_norm:
        found += node.args[1:4]
    if node.target is count_batch:
        found.append(first)
    return [tensor for tensor in found if isinstance(tensor, Node)]


def _is_private(node: Node, edited: Node) -> bool:
    """Whether neither the tensor nor another name or view of its memory is the caller's, or read later."""
    memory = patterns.memory(edited)
    earlier = [other for other in node.graph.nodes if other < node and patterns.memory(other) == memory]
    return memory is not None and all(
        other.op.startswith("call_") and all(user is node or user < node for user in other.users)
        for other in earlier
    )


def _make_ordinary(node: Node) -> None:
    """The call that returns what this one leaves in its place, where there is one."""
    target: Any = node.target
    tensors = [node, *node.all_input_nodes]
    if (
        len({patterns.value(each).dtype if patterns.value(each) is not None else None for each in tensors})
        != 1
    ):
        return  # in place a result keeps its dtype, whatever the other operand's
    given = patterns.arguments(node) or {}
    if target in _OPERATORS:
        node.target = _OPERATORS[target]
    elif (
        node.op == "call_method"
        and not node.kwargs
        and target in ("add_", "sub_", "mul_", "div_", "relu_", "tanh_", "sigmoid_")
    ):
        node.target = target.removesuffix("_")
    elif given.get("inplace") is True and "out" not in node.kwargs and isinstance(given.get("input"), Node):
        node.args = (given["input"],)
        node.kwargs = {**{k: v for k, v in given.items() if k != "input"}, "inplace": False}
