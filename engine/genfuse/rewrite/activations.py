"""Activations that no unit took along, on our kernel: PyTorch's have other bits from version to version."""

from __future__ import annotations

from torch import Tensor
from torch.fx import Graph

from genfuse.ops.bias_act import bias_act
from genfuse.rewrite import patterns
from genfuse_kernels.bias_act.spec import DTYPES, Activation


def run_activation(kind: Activation, slope: float, x: Tensor) -> Tensor:
    """What the rewritten graph calls."""
    return bias_act(x, activation=kind, negative_slope=slope)


def put_activations(graph: Graph) -> None:
    """Of an inference on the CPU; gradients are PyTorch's, which keep less."""
    for node in list(graph.nodes):
        found = patterns.activation(node)
        tensor = patterns.value(node)
        if found is None or tensor is None or tensor.dtype not in DTYPES or tensor.device.type != "cpu":
            continue
        if tensor.ndim < 2 or not patterns.shape(node) or 0 in tensor.shape:
            continue
        with graph.inserting_before(node):
            call = graph.call_function(run_activation, (found.kind, found.slope, found.source))
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        graph.erase_node(node)
