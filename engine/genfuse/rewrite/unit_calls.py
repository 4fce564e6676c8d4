"""The calls of a graph that are units, whoever made them."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Graph, Node

from genfuse import env
from genfuse.ops.conv_call import NAMES, Call
from genfuse.ops.conv_norm_act import unit
from genfuse.rewrite import patterns
from genfuse.rewrite.statistics import first
from genfuse_kernels.conv_norm_act.settings import Settings
from genfuse_kernels.conv_norm_act.spec import cpu_gradient_limit

OP = torch.ops.genfuse.conv_norm_act
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def run_op(*arguments: Any) -> tuple[Tensor, Tensor]:
    """The op by its arguments, and the recipe of its input."""
    *given, recipe = arguments
    return unit(*Call.of(tuple(given)), recipe=recipe)


class UnitCall(NamedTuple):
    """A call of a unit on our kernels, the node of its output, and its tensors by `NAMES`."""

    call: Node
    output: Node
    settings: Settings
    tensors: dict[str, Node]

    def keeps(self, node: Node) -> bool:
        """Whether its backward reads the node, as far as autograd is told."""
        unread = {"bias", "shift"} | (set() if "residual_weight" in self.tensors else {"residual"})
        return any(other is node for name, other in self.tensors.items() if name not in unread)

    def can_repeat(self, kept: set[Node]) -> bool:
        """Whether its output can be made again of what is kept."""
        residual = None if "residual_weight" in self.tensors else self.tensors.get("residual")
        is_plain = self.settings.out_activation == "none" and self.settings.pool == (1, 1)
        return is_plain and self.tensors["x"] in kept and (residual is None or residual in kept)

    def read_from(self, name: str, node: Node) -> None:
        """Has the call read another tensor."""
        if name in self.call.kwargs:
            self.call.kwargs = {**self.call.kwargs, name: node}
            return
        place = NAMES.index(name) + (0 if self.call.target in (OP, run_op) else 2)
        self.call.args = (*self.call.args[:place], node, *self.call.args[place + 1 :])


def units_with_gradients(graph: Graph, run_unit: Any) -> list[UnitCall]:
    """Those of pictures that have gradients by our kernels.

    run_unit  what `optimize` makes such calls by
    """
    calls = (_unit_call(node, run_unit) for node in graph.nodes)
    return [found for found in calls if found is not None and _is_ours(found)]


def _unit_call(node: Node, run_unit: Any) -> UnitCall | None:
    """A unit of `optimize`'s making, or a call of the op, as the graph had it, that returns no statistics."""
    if node.target is run_unit:
        settings: Any = node.args[0]
        given = dict(zip(("x", "weight", "bias"), node.args[2:], strict=True)) | node.kwargs
        output = next((user for user in node.users if user.target is first), node)
    elif node.target in (OP, run_op):
        call = Call.of(tuple(node.args if node.target is OP else node.args[:-1]))
        if call.return_stats:
            return None
        settings, given = call.settings, dict(zip(NAMES, call.inputs, strict=True))
        output = next(
            (user for user in node.users if user.target is operator.getitem and not user.args[1]), node
        )
    else:
        return None
    if not (patterns.is_settled(node) and patterns.is_settled(output)):
        return None
    tensors = {name: each for name, each in given.items() if isinstance(each, Node)}
    return UnitCall(node, output, settings, tensors)


def _is_ours(found: UnitCall) -> bool:
    value, weight = patterns.value(found.output), patterns.shape(found.tensors["weight"])
    if value is None or not value.requires_grad or value.ndim != 4 or weight is None:
        return False
    if value.dtype not in _DTYPES or value.device.type != "cpu" or env.backend_missing("cpu") is not None:
        return False
    return cpu_gradient_limit(weight, found.settings) is None
