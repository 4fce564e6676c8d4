"""What stands between the convolutions: linear layers, attention and additions of images, each as one call."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Graph, Node

from genfuse.ops.attention import attention
from genfuse.ops.conv_norm_act import Settings
from genfuse.ops.linear import unit
from genfuse.rewrite import patterns
from genfuse.rewrite.norms import absorb_end, put_in_place

_ATTENTION = (F.scaled_dot_product_attention, torch._C._nn.scaled_dot_product_attention)
_PLAIN: dict[str, Any] = {"attn_mask": None, "dropout_p": 0.0, "is_causal": False, "enable_gqa": False}


def run_linear(
    settings: Settings, x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None
) -> Tensor:
    """What the rewritten graph calls."""
    return unit(x, weight, bias, settings, residual)


def run_attention(scale: float | None, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What the rewritten graph calls."""
    return attention(q, k, v, scale=scale)


def fuse_tokens(graph: Graph) -> tuple[int, int]:
    """Replaces linear layers, with the activation on either side and the addition between, and attention; how many."""
    linears = [node for node in graph.nodes if patterns.linear(node) is not None]
    attentions = [node for node in graph.nodes if node.op == "call_function" and node.target in _ATTENTION]
    return sum(map(_linear, linears)), sum(map(_attention, attentions))


def fuse_additions(graph: Graph) -> None:
    """Sums of two images of one form that no unit took along, with the activation and pooling behind them."""
    for node in [node for node in graph.nodes if patterns.added(node) is not None]:
        terms = patterns.added(node)
        if terms is None or len(patterns.shape(node) or ()) != 4 or not patterns.alike(*terms):
            continue
        if not patterns.alike(node, terms[0]) or not _single(node):
            continue
        taken = [node]
        put_in_place(taken, absorb_end(Settings(), taken), terms[0], {"residual": terms[1]})


def _linear(node: Node) -> bool:
    layer = patterns.linear(node)
    if layer is None or not patterns.shape(layer.source):
        return False
    x, weight, bias = layer.source, layer.weight, layer.bias
    if not _single(node) or not patterns.same_dtype(node, x):
        return False
    settings, taken = Settings(), [node]
    before = patterns.activation(x)
    if before is not None and patterns.only_user(x):
        settings = settings._replace(activation=before.kind, negative_slope=before.slope)
        taken.insert(0, x)
        x = before.source
    residual = _absorb_residual(taken)
    after = patterns.only_user(taken[-1])
    act = patterns.activation(after) if after is not None else None
    if after is not None and act is not None and "leaky_relu" not in (settings.activation, act.kind):
        settings = settings._replace(out_activation=act.kind)
        taken.append(after)
    last = taken.pop()
    with last.graph.inserting_before(last):
        call = last.graph.call_function(run_linear, (settings, x, weight, bias, residual))
    _replace(last, call)
    for each in reversed(taken):
        each.graph.erase_node(each)
    return True


def _absorb_residual(taken: list[Node]) -> Node | None:
    """What is added behind the last of `taken`, to which the addition is added."""
    last = taken[-1]
    node = patterns.only_user(last)
    terms = patterns.added(node) if node is not None else None
    if node is None or terms is None:
        return None
    other = terms[1] if terms[0] is last else terms[0]
    if other is last or not patterns.alike(other, last) or not patterns.alike(node, last):
        return None
    taken.append(node)
    return other


def _attention(node: Node) -> bool:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    found = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    heads = [found[name] for name in names[:3]]
    if any(found.get(name, plain) != plain for name, plain in _PLAIN.items()) or not _single(node):
        return False
    if not all(patterns.same_dtype(node, head) for head in heads):
        return False
    shapes = [patterns.shape(each) for each in heads]
    if any(shape is None or len(shape) != 4 for shape in shapes):
        return False
    q, k, v = (shape or () for shape in shapes)
    if q[:2] != k[:2] or q[:2] != v[:2] or q[3] != k[3] or 0 in k:
        return False
    scale: Any = found.get("scale")
    if scale is not None and not math.isfinite(scale):
        return False
    with node.graph.inserting_before(node):
        call = node.graph.call_function(run_attention, (scale, *heads))
    _replace(node, call)
    return True


def _single(node: Node) -> bool:
    """Whether the result is of a dtype that kernels take."""
    tensor = patterns.value(node)
    return tensor is not None and tensor.dtype in (torch.float32, torch.bfloat16, torch.float16)


def _replace(node: Node, call: Node) -> None:
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    node.graph.erase_node(node)
