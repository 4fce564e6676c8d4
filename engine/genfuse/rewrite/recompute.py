"""Of two units in a row one computes its input again in backward: `optimize(memory="low")`."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Graph, Node

from genfuse import env
from genfuse.ops.conv_call import NAMES, Call
from genfuse.ops.conv_norm_act import unit
from genfuse.ops.norm_stats import stats_of
from genfuse.ops.recompute import recipe_of
from genfuse.ops.running_stats import update_running_stats
from genfuse.rewrite import patterns
from genfuse.rewrite.names import name_of
from genfuse.rewrite.report import GraphReport
from genfuse.rewrite.statistics import first
from genfuse_kernels.conv_norm_act.settings import Settings
from genfuse_kernels.conv_norm_act.spec import cpu_gradient_limit

_OP = torch.ops.genfuse.conv_norm_act
_MEASURING = (update_running_stats, stats_of)
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class _Unit(NamedTuple):
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


def recompute_inputs(graph: Graph, report: GraphReport, run_unit: Any) -> None:
    """Every unit whose input is another's output that nobody else keeps computes it again, but none of two in a row.

    report    is told of the layers that keep their input and of those that do not
    run_unit  what calls in the graph are made by
    """
    units = [
        found for node in graph.nodes if (found := _unit(node, run_unit)) is not None and _is_ours(found)
    ]
    by_call, by_output = {found.call: found for found in units}, {found.output: found for found in units}
    without = _without_gradients(graph)
    kept: set[Node] = set()

    def keeps(user: Node, node: Node) -> bool:
        if user in by_call:
            return by_call[user].keeps(node)
        # of an unknown call, perhaps
        return (
            user not in without and user.target is not update_running_stats and patterns.added(user) is None
        )

    for found in units:
        x, name = found.tensors["x"], name_of(found.tensors["weight"])
        made_by = by_output.get(x)
        alone = [user for user in x.users if keeps(user, x)] == [found.call]
        once = list(found.tensors.values()).count(x) == 1
        if made_by is not None and alone and once and made_by.can_repeat(kept):
            _recompute(graph, made_by, found)
            report.recomputed.append(name)
        else:
            kept.add(x)
            report.kept.append(name)
        kept |= {node for node in found.tensors.values() if node is not x and found.keeps(node)}


def _unit(node: Node, run_unit: Any) -> _Unit | None:
    """A unit of `optimize`'s making, or a call of the op that returns no statistics."""
    if node.target is run_unit:
        settings: Any = node.args[0]
        given = dict(zip(("x", "weight", "bias"), node.args[2:], strict=True)) | node.kwargs
        output = next((user for user in node.users if user.target is first), node)
    elif node.target is _OP and not node.args[-1]:
        call = Call.of(tuple(node.args))
        settings, given = call.settings, dict(zip(NAMES, call.inputs, strict=True))
        output = next(
            (user for user in node.users if user.target is operator.getitem and not user.args[1]), node
        )
    else:
        return None
    if not (patterns.is_settled(node) and patterns.is_settled(output)):
        return None
    tensors = {name: each for name, each in given.items() if isinstance(each, Node)}
    return _Unit(node, output, settings, tensors)


def _is_ours(found: _Unit) -> bool:
    """Whether it has gradients by our kernels, and is of pictures."""
    value, weight = patterns.value(found.output), patterns.shape(found.tensors["weight"])
    if value is None or not value.requires_grad or value.ndim != 4 or weight is None:
        return False
    if value.dtype not in _DTYPES or value.device.type != "cpu" or env.backend_missing("cpu") is not None:
        return False
    return cpu_gradient_limit(weight, found.settings) is None


def _without_gradients(graph: Graph) -> set[Node]:
    """Calls where gradients are switched off, which keep nothing."""
    found, enabled = set(), True
    for node in graph.nodes:
        to = patterns.switched_to(node)
        enabled = enabled if to is None else to
        if not enabled:
            found.add(node)
    return found


def _recompute(graph: Graph, made_by: _Unit, reader: _Unit) -> None:
    """A recipe behind the unit that makes the input, handed to the one that reads it."""
    added = [made_by.tensors.get(name) for name in ("bias", "shift", "residual")]
    with graph.inserting_after(made_by.output):
        recipe = graph.call_function(recipe_of, (made_by.output, *added))
    call = reader.call
    if call.target is _OP:
        call.target, call.args = run_op, (*call.args, recipe)
    else:
        call.kwargs = {**call.kwargs, "recipe": recipe}


def run_op(*arguments: Any) -> tuple[Tensor, Tensor]:
    """The op by its arguments, and the recipe of its input."""
    *given, recipe = arguments
    call = Call.of(tuple(given))
    return unit(*call, recipe=recipe)
