"""Of two units in a row one computes its input again in backward: `optimize(memory="low")`."""

from __future__ import annotations

from typing import Any

from torch.fx import Graph, Node

from genfuse.ops.recompute import recipe_of
from genfuse.ops.running_stats import update_running_stats
from genfuse.rewrite import patterns
from genfuse.rewrite.names import name_of
from genfuse.rewrite.report import GraphReport
from genfuse.rewrite.unit_calls import OP, UnitCall, run_op, units_with_gradients


def recompute_inputs(graph: Graph, report: GraphReport, run_unit: Any) -> None:
    """Every unit whose input is another's output that nobody else keeps computes it again, but none of two in a row.

    report    is told of the layers that keep their input and of those that do not
    run_unit  what calls in the graph are made by
    """
    units = units_with_gradients(graph, run_unit)
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


def _without_gradients(graph: Graph) -> set[Node]:
    """Calls where gradients are switched off, which keep nothing."""
    found, enabled = set(), True
    for node in graph.nodes:
        to = patterns.switched_to(node)
        enabled = enabled if to is None else to
        if not enabled:
            found.add(node)
    return found


def _recompute(graph: Graph, made_by: UnitCall, reader: UnitCall) -> None:
    """A recipe behind the unit that makes the input, handed to the one that reads it."""
    added = [made_by.tensors.get(name) for name in ("bias", "shift", "residual")]
    with graph.inserting_after(made_by.output):
        recipe = graph.call_function(recipe_of, (made_by.output, *added))
    call = reader.call
    if call.target is OP:
        call.target, call.args = run_op, (*call.args, recipe)
    else:
        call.kwargs = {**call.kwargs, "recipe": recipe}
