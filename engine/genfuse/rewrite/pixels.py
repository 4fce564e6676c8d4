"""Linear layers on the pixels of an image, as its attention has them, made 1x1 convolutions before units are found.

So a unit takes along the norm that stands before them and the addition behind them, and those that read the same pixels
are one convolution.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Graph, Node
from torch.utils._python_dispatch import _disable_current_modes

from genfuse import env
from genfuse.rewrite import patterns
from genfuse.rewrite.names import name_of
from genfuse_kernels.common.packed_weights import derived


def run_joined(*weights: Tensor) -> Tensor:
    """The weights (K, C) of linear layers as one 1x1 convolution's, or their biases (K,) as its bias; made once."""

    def make() -> Tensor:
        return _joined([weight.detach() for weight in weights])

    with _disable_current_modes():  # a plan that is being recorded keeps the result, not the way to it
        return derived(weights, "joined", make)


def _joined(weights: list[Tensor]) -> Tensor:
    whole = weights[0] if len(weights) == 1 else torch.cat(weights)
    return whole[:, :, None, None] if whole.ndim == 2 else whole


def convolve_pixels(graph: Graph) -> None:
    """Where nothing needs gradients, which the joined weights have not."""
    if env.backend_missing("cpu") is None:
        for node in list(graph.nodes):
            _from_image(node)
        for node in list(graph.nodes):
            _to_image(node)


def _from_image(tokens: Node) -> None:
    """All that reads `tokens`, (N, L, C), pixels of an image or of its norm, if it is linear layers."""
    source = _transposed(tokens)
    if source is None:
        return
    norm = patterns.norm(source)
    if norm is not None and (norm.kind not in ("group", "instance") or len(source.users) > 1):
        return
    image = _flattened(source if norm is None else norm.source)
    readers = [node for node in tokens.graph.nodes if node in tokens.users]
    layers = [layer for node in readers if (layer := _layer(node, tokens)) is not None]
    biases = [layer.bias for layer in layers if layer.bias is not None]
    if image is None or not layers or len(layers) < len(readers) or len(biases) not in (0, len(layers)):
        return
    graph = tokens.graph
    with graph.inserting_before(readers[0]):
        if norm is not None and norm.kind == "group":
            image = _call(graph, F.group_norm, image, norm.num_groups, norm.weight, norm.bias, norm.eps)
        elif norm is not None:
            image = _call(graph, F.instance_norm, image, weight=norm.weight, bias=norm.bias, eps=norm.eps)
        convolved = _convolved(graph, image, [layer.weight for layer in layers], biases)
        pixels = _call(graph, "transpose", _call(graph, "flatten", convolved, 2), 1, 2)
        first = 0
        for node, layer in zip(readers, layers, strict=True):
            count = patterns.value(layer.weight).shape[0]
            part = pixels if len(layers) == 1 else _call(graph, "narrow", pixels, 2, first, count)
            node.replace_all_uses_with(part)
            first += count
    for node in readers:
        graph.erase_node(node)
    graph.erase_node(tokens)
    if norm is not None:
        graph.erase_node(source)  # nobody else reads it


def _to_image(node: Node) -> None:
    """A linear layer whose tokens become the pixels of an image."""
    layer = patterns.linear(node)
    if layer is None or _layer(node, layer.source) is None or len(patterns.shape(node) or ()) != 3:
        return
    behind = patterns.only_user(node)
    if behind is None or _transposed(behind) is not node:
        return
    image = patterns.only_user(behind)
    views = (
        image is not None and image.target in ("view", "reshape", "unflatten") and patterns.is_settled(image)
    )
    if image is None or not views or _flattened_shape(image) != patterns.shape(behind):
        return
    graph = node.graph
    height, width = patterns.value(image).shape[2:]
    with graph.inserting_before(node):
        pixels = _call(graph, "unflatten", _call(graph, "transpose", layer.source, 1, 2), 2, (height, width))
        convolved = _convolved(graph, pixels, [layer.weight], [] if layer.bias is None else [layer.bias])
    image.replace_all_uses_with(convolved)
    for each in (image, behind, node):
        graph.erase_node(each)


def _layer(node: Node, source: Node) -> patterns.LinearStep | None:
    """The linear layer that a node is, of parameters that last, on `source`, all in one dtype."""
    layer = patterns.linear(node)
    if layer is None or layer.source is not source or not patterns.same_dtype(node, source):
        return None
    parameters = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
    lasting = all(patterns.is_given(each) and patterns.value(each) is not None for each in parameters)
    if not lasting or any(patterns.value(each).device.type != "cpu" for each in parameters):
        return None
    return layer if patterns.same_dtype(layer.weight, source) else None


def _transposed(node: Node) -> Node | None:
    """The input of a call that swaps the last two of three axes."""
    source = node.args[0] if node.op == "call_method" and node.args else None
    if not isinstance(source, Node) or len(patterns.shape(source) or ()) != 3 or node.kwargs:
        return None
    if not patterns.is_settled(node):
        return None
    axes = node.args[1:]
    if node.target == "transpose" and {axis % 3 for axis in axes if isinstance(axis, int)} == {1, 2}:
        return source
    if node.target == "permute" and axes in ((0, 2, 1), ((0, 2, 1),), ([0, 2, 1],)):
        return source
    return None


def _flattened(node: Node) -> Node | None:
    """The image (N, C, H, W) that a node (N, C, L) is a view of."""
    once = _transposed(node)
    twice = _transposed(once) if once is not None else None
    if twice is not None:
        return _flattened(twice)
    source = node.args[0] if node.op == "call_method" and node.args else None
    known = node.target in ("view", "reshape", "flatten") and patterns.is_settled(node)
    if not known or not isinstance(source, Node):
        return None
    return source if _flattened_shape(source) == patterns.shape(node) else None


def _flattened_shape(image: Node) -> tuple[int, ...] | None:
    """(N, C, H·W) of an image (N, C, H, W), which alone has this many axes."""
    size = patterns.shape(image) or ()
    return (*size[:2], size[2] * size[3]) if len(size) == 4 else None


def _convolved(graph: Graph, image: Node, weights: list[Node], biases: list[Node]) -> Node:
    weight = _call(graph, run_joined, *weights)
    first, *others = (name_of(each) for each in weights)
    weight.meta["parameter"] = ", ".join((first, *(name.rpartition(".")[2] for name in others))) + ".weight"
    return _call(graph, torch.conv2d, image, weight, _call(graph, run_joined, *biases) if biases else None)


def _call(graph: Graph, target: Any, *args: Any, **kwargs: Any) -> Node:
    """A new node, which knows the form of its value as Dynamo's do."""
    make = graph.call_method if isinstance(target, str) else graph.call_function
    node = make(target, args, kwargs)
    given, named = torch.fx.map_arg((args, kwargs), patterns.value)
    if target is run_joined:
        node.meta["example_value"] = _joined(list(given))
    elif isinstance(target, str):
        node.meta["example_value"] = getattr(given[0], target)(*given[1:], **named)
    else:
        node.meta["example_value"] = target(*given, **named)
    return node
