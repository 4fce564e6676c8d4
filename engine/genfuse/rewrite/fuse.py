"""Finds a graph's units and puts one call in place of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from genfuse import env
from genfuse.ops.conv_checks import check_settings
from genfuse.ops.conv_norm_act import Settings, unit
from genfuse.rewrite import patterns
from genfuse.rewrite.activations import put_activations
from genfuse.rewrite.batch_norms import split_batch_norms
from genfuse.rewrite.checkpoints import fuse_checkpoints
from genfuse.rewrite.edits import settle
from genfuse.rewrite.fan_outs import fan_images_out
from genfuse.rewrite.folding import folded
from genfuse.rewrite.layouts import settle_layouts
from genfuse.rewrite.left import left_norms_and_tokens
from genfuse.rewrite.names import name_of
from genfuse.rewrite.norms import fuse_norms, mend_norms
from genfuse.rewrite.options import Memory
from genfuse.rewrite.pixels import convolve_pixels
from genfuse.rewrite.projection import is_shortcut, project, run_sum
from genfuse.rewrite.recompute import recompute_inputs
from genfuse.rewrite.report import Fused, GraphReport, Left
from genfuse.rewrite.statistics import hand_on_measured, hand_on_statistics
from genfuse.rewrite.tokens import fuse_additions, fuse_tokens
from genfuse.rewrite.weights import algorithm, choose_algorithms, packed_bytes
from genfuse_kernels.conv_norm_act.settings import Accuracy, Pair, UnitTensors
from genfuse_kernels.conv_norm_act.spec import DTYPES, cpu_gradient_limit, cpu_limit

_TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d)
_CONVOLUTIONS = (torch.conv1d, torch.conv2d, *_TRANSPOSED)


@dataclass
class Unit:
    """A convolution and what of its surroundings it takes along."""

    conv: Node
    source: Node
    weight: Node
    bias: Node | None
    settings: Settings
    tensors: dict[str, Node] = field(default_factory=dict)
    folded: patterns.NormStep | None = None  # batch norm that goes into the weights
    steps: list[str] = field(default_factory=list)
    last: Node | None = None  # whose value the unit makes
    inner: set[Node] = field(default_factory=set)  # nodes whose values are not needed any more
    other_bias: Node | None = None  # of the residual's projection

    @property
    def output(self) -> Node:
        """The node that the unit replaces."""
        return self.last or self.conv


def fuse(
    module: GraphModule,
    report: GraphReport,
    accuracy: Accuracy | None,
    memory_limit: int | None = None,
    memory: Memory | None = None,
) -> None:
    """Puts units into the graph and says so in its report; where it has gradients nothing is folded."""
    graph = module.graph
    units: list[Unit] = []
    blocks: list[GraphReport] = []
    if report.gradients:

        def fuse_block(block: GraphModule) -> None:
            blocks.append(GraphReport(gradients=True))
            fuse(block, blocks[-1], accuracy, memory_limit, memory)

        fuse_checkpoints(module, fuse_block)
        split_batch_norms(graph)
    settle(graph)
    _drop_unchanged(graph)
    if not report.gradients:
        convolve_pixels(graph)
    for node in graph.nodes:
        if node.op == "call_function" and node.target in _CONVOLUTIONS:
            found = _convolution(node, accuracy)
            if isinstance(found, Left):
                report.left.append(found)
            else:
                if not report.gradients:
                    _fold_norm(found)
                _absorb_before(found, {other.output for other in units})
                units.append(found)
    units = _with_surroundings(units)
    choose_algorithms(units, memory_limit)
    made: dict[Node, Node] = {}
    for found in units:
        made[found.output] = _replace(graph, found, made)
    _remove(graph, units)
    norms = fuse_norms(graph)
    fuse_additions(graph)
    linears, attentions = fuse_tokens(graph)
    if not report.gradients:
        put_activations(graph)
    if report.gradients:
        hand_on_measured(graph, made.values())
    else:
        hand_on_statistics(graph, [*made.values(), *norms])
    if not any(map(patterns.draws, graph.nodes)):
        _to_channels_last(graph, {*made.values(), *norms})
    settle_layouts(graph)
    if report.gradients:
        if memory == "low":
            recompute_inputs(graph, report, run_unit)
        fan_images_out(graph, run_unit)
    report.fused = [_described(found, report.gradients) for found in units]
    report.left += left_norms_and_tokens(graph)
    report.norms, report.linears, report.attentions = len(norms), linears, attentions
    if report.gradients:
        mend_norms(graph)
    for block in blocks:
        report.include(block)
    graph.lint()
    module.recompile()


def _drop_unchanged(graph: Graph) -> None:
    """Takes out what hands its input on, as it is."""
    for node in list(graph.nodes):
        source = patterns.unchanged(node)
        if source is not None:
            node.replace_all_uses_with(source)
            graph.erase_node(node)


def run_unit(
    settings: Settings, return_stats: bool, x: Tensor, weight: Tensor, bias: Tensor | None, **named: Any
) -> Any:
    """What the rewritten graph calls."""
    if "folded" in named:
        weight, bias = folded(weight, bias, settings, named.pop("folded"))
    measured, recipe = named.pop("measured", False), named.pop("recipe", None)
    out, stats = unit(x, weight, bias, settings, cast(UnitTensors, named), return_stats, measured, recipe)
    return (out, stats) if return_stats else out


def _pair(value: Any, axes: int, neutral: int) -> Pair | None:
    """(height, width) of a convolution's argument; a sequence has height 1."""
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) == 1:
        values *= axes
    if len(values) != axes or not all(isinstance(v, int) for v in values):
        return None
    return (neutral, values[0]) if axes == 1 else (values[0], values[1])


def _convolution(node: Node, accuracy: Accuracy | None) -> Unit | Left:
    found = patterns.arguments(node)
    if found is None:
        return Left(name_of(node.all_input_nodes[1]), "its tensors are edited in place")
    transposed = node.target in _TRANSPOSED
    weight, source = found["weight"], found["input"]
    name = name_of(weight)
    if isinstance(found.get("padding"), str):
        return Left(name, f"padding is {found['padding']!r}")
    if not patterns.same_dtype(node, source):
        return Left(name, "autocast gives it another dtype than its input's")
    axes = len(patterns.shape(weight) or ()) - 2
    if axes not in (1, 2) or len(patterns.shape(source) or ()) != axes + 2:
        return Left(name, "its sizes are not known, or it has no batch")
    pairs = {
        key: _pair(found.get(key, default), axes, default)
        for key, default in (("stride", 1), ("padding", 0), ("dilation", 1), ("output_padding", 0))
    }
    if None in pairs.values():
        return Left(name, "its stride, padding or dilation are not numbers")
    groups = int(found.get("groups", 1))
    inputs = (patterns.shape(source) or (0, 0))[1] // groups
    if groups > 1 and 4 < inputs <= 16:
        return Left(name, f"groups of {inputs} channels are faster there")
    settings = Settings(**pairs, groups=groups, transposed=transposed, accuracy=accuracy)  # type: ignore[arg-type]
    try:
        check_settings(settings)
    except (TypeError, ValueError) as error:
        return Left(name, str(error))
    too_large = cpu_limit(patterns.shape(weight) or (), settings)
    if too_large is not None:
        return Left(name, too_large)
    step = "transposed convolution" if transposed else "convolution"
    return Unit(node, source, weight, found.get("bias"), settings, steps=[step])


def _fold_norm(found: Unit) -> None:
    """Batch norm in inference right behind the convolution."""
    node = patterns.only_user(found.conv)
    norm = patterns.norm(node) if node is not None else None
    if norm is None or norm.kind != "batch" or norm.source is not found.conv:
        return
    if patterns.value(node).device.type != "cpu" or env.backend_missing("cpu") is not None:
        return  # changes of weights are noticed on the CPU only
    parameters = (found.weight, found.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    if any(each is not None and not patterns.is_given(each) for each in parameters):
        return  # computed in every call
    found.folded, found.last = norm, node
    found.inner.add(found.conv)
    found.steps.append("batch norm in its weights")


def _absorb_before(found: Unit, made: set[Node]) -> None:
    """Padding, upsampling, activation, norm and concatenation, from the convolution backwards.

    `made`: what units before this one make.
    """

    def take(step: str, node: Node, source: Node, **settings: Any) -> None:
        found.steps.insert(0, step)
        if step != "concatenation":
            found.inner.add(node)
        found.source = source
        found.settings = found.settings._replace(**settings)

    pad = patterns.padded(found.source)
    plain = not found.settings.transposed
    if pad and plain and patterns.only_user(found.source) and found.settings.padding == (0, 0):
        take(
            f"{pad.mode} padding",
            found.source,
            pad.source,
            padding=pad.padding,
            extra_padding=pad.extra,
            padding_mode=pad.mode,
        )
    double = patterns.doubled(found.source)
    if double and plain and patterns.only_user(found.source):
        take("2× upsampling", found.source, double, upsample=patterns.by_two(double))
    act = patterns.activation(found.source)
    if act and patterns.only_user(found.source):
        take(act.kind, found.source, act.source, activation=act.kind, negative_slope=act.slope)
    norm = patterns.norm(found.source)
    if norm and patterns.only_user(found.source) and found.source not in made:
        found.tensors.update(norm.tensors)
        take(
            f"{norm.kind} norm",
            found.source,
            norm.source,
            norm=norm.kind,
            num_groups=norm.num_groups,
            eps=norm.eps,
        )
    cat = patterns.joined(found.source)
    if cat and plain:
        found.tensors["skip"] = cat[1]
        take("concatenation", found.source, cat[0])


def _with_surroundings(units: list[Unit]) -> list[Unit]:
    """The units with what stands behind them, without the shortcuts that others do now."""
    shortcuts = {found.conv: found for found in units if is_shortcut(found)}
    done = set()
    for found in sorted(units, key=is_shortcut):
        if found.conv in shortcuts or not is_shortcut(found):
            shortcuts.pop(found.conv, None)
            done.add(found.conv)
            taken = {node for other in units for node in (*other.inner, other.conv, other.output)}
            _absorb_behind(found, taken, shortcuts)
    return [found for found in units if found.conv in done]


def _absorb_behind(found: Unit, taken: set[Node], shortcuts: dict[Node, Unit]) -> None:
    """Shift, residual, scale, activation, pooling: forwards from the convolution, where no other unit reads between."""
    place = {node: i for i, node in enumerate(found.conv.graph.nodes)}

    def take(step: str, node: Node) -> None:
        found.steps.append(step)
        found.inner.add(found.output)
        found.last = node

    while (node := patterns.only_user(found.output)) is not None and node not in taken:
        terms = patterns.added(node)
        factor = patterns.scaled(node)
        act = patterns.activation(node)
        if terms and found.settings.scale == 1 and found.settings.out_activation == "none":
            other = terms[1] if terms[0] is found.output else terms[0]
            own, theirs = patterns.shape(found.output), patterns.shape(other)
            if (
                own is None
                or other is found.output
                or patterns.value(other).dtype != patterns.value(found.output).dtype
            ):
                return
            if theirs == (*own[:2], *(1,) * (len(own) - 2)) and "shift" not in found.tensors:
                found.tensors["shift"] = other
                take("shift", node)
            elif theirs == own and "residual" not in found.tensors and patterns.shape(node) == own:
                if place[other] > place[node]:
                    return
                shortcut = shortcuts.get(other) if patterns.only_user(other) else None
                if shortcut is not None and project(found, shortcut):
                    del shortcuts[other]
                    take(f"residual through {name_of(shortcut.weight)}", node)
                else:
                    found.tensors["residual"] = other
                    take("residual", node)
            else:
                return
        elif patterns.halved(node) and not found.settings.transposed:
            found.settings = found.settings._replace(pool=patterns.by_two(node))
            take("2× average pooling", node)
            return
        elif factor and found.settings.out_activation == "none":
            found.settings = found.settings._replace(scale=found.settings.scale * factor[1])
            take(f"×{factor[1]:.3g}", node)
        elif act and found.settings.out_activation == "none":
            if (
                act.kind == "leaky_relu"
                and found.settings.activation == "leaky_relu"
                and act.slope != found.settings.negative_slope
            ):
                return
            slope = act.slope if act.kind == "leaky_relu" else found.settings.negative_slope
            found.settings = found.settings._replace(out_activation=act.kind, negative_slope=slope)
            take(act.kind, node)
        else:
            return


def _replace(graph: Graph, found: Unit, made: dict[Node, Node]) -> Node:
    """Puts the call where the unit's last node stood; `made` has the calls that stand for nodes replaced before."""
    with graph.inserting_before(found.output):
        named: dict[str, Any] = {key: made.get(node, node) for key, node in found.tensors.items()}
        if "shift" in named:
            named["shift"] = graph.call_method("flatten", (named["shift"], 1))
        if found.folded is not None:
            norm = found.folded
            named["folded"] = (norm.eps, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        source, bias = made.get(found.source, found.source), found.bias or found.other_bias
        if found.bias and found.other_bias:
            bias = graph.call_function(run_sum, (found.bias, found.other_bias))
        call = graph.call_function(run_unit, (found.settings, False, source, found.weight, bias), named)
    call.meta = dict(found.output.meta)
    found.output.replace_all_uses_with(call)
    return call


def _remove(graph: Graph, units: list[Unit]) -> None:
    """Takes out the nodes that units do instead, and nothing else: some nodes work by side effects."""
    gone = {node for found in units for node in (*found.inner, found.conv, found.output)}
    for node in reversed(list(graph.nodes)):
        if not node.users and (node in gone or patterns.joined(node)):
            graph.erase_node(node)


def _to_channels_last(graph: Graph, calls: set[Node]) -> None:
    """The layout between the units, which give what they are given; not where it would change what is drawn."""
    start = next(node for node in graph.nodes if node.op != "placeholder")
    for node in list(graph.nodes):
        if _is_relaid(node) and all(user in calls for user in node.users):
            node.replace_all_uses_with(node.args[0])  # units read any layout, and keep channels last
            graph.erase_node(node)
        elif node.op == "placeholder" and len(patterns.shape(node) or ()) == 4:
            readers = [user for user in node.users if user in calls and user.args[2] is node]
            if readers:
                with graph.inserting_before(start):
                    last = graph.call_function(_channels_last, (node,))
                for reader in readers:
                    reader.replace_input_with(node, last)


def _is_relaid(node: Node) -> bool:
    """Whether a node only puts an image into planar layout."""
    planar = (
        node.op == "call_method" and node.target == "contiguous" and len(node.args) == 1 and not node.kwargs
    )
    return planar and len(patterns.shape(node) or ()) == 4


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _described(found: Unit, gradients: bool) -> Fused:
    name, steps = name_of(found.weight), tuple(found.steps)
    limit = cpu_gradient_limit(patterns.shape(found.weight) or (), found.settings) if gradients else None
    value = patterns.value(found.conv)
    is_wide = value is not None and value.dtype not in DTYPES
    if is_wide or limit is not None or env.backend_missing("cpu") is not None:
        return Fused(name, steps, "aten", 0)
    return Fused(
        name, steps, algorithm(found), 0 if gradients else packed_bytes(found)
    )  # not kept in training
