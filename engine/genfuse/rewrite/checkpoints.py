"""Blocks under `torch.utils.checkpoint` inside a model that trains: fused, and computed again in backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils.checkpoint import checkpoint

from genfuse.ops.running_stats import is_recomputation
from genfuse.rewrite.edits import edited_by

_CHECKPOINT = torch.ops.higher_order.tag_activation_checkpoint


def fuse_checkpoints(module: GraphModule, fuse_block: Callable[[GraphModule], None]) -> None:
    """Fuses what each such call of Dynamo's runs, and has PyTorch's checkpoint run it."""
    for node in module.graph.find_nodes(op="call_function", target=_CHECKPOINT):
        block, *arguments = node.args
        body = module.get_submodule(str(block.target)) if isinstance(block, Node) else None
        if not isinstance(body, GraphModule):
            continue
        inputs = [inner for inner in body.graph.nodes if inner.op == "placeholder"]
        for inner, outer in zip(inputs, arguments, strict=True):
            if isinstance(outer, Node) and "parameter" in outer.meta:
                inner.meta["parameter"] = outer.meta["parameter"]
        edited = {tensor for inner in body.graph.nodes for tensor in edited_by(inner)}
        held = tuple(i for i, inner in enumerate(inputs) if inner in edited)
        fuse_block(body)
        node.target, node.args = run_block, (held, *node.args)


def run_block(held: tuple[int, ...], body: GraphModule, *inputs: Any, **options: Any) -> Any:
    """Checkpointed; the inputs numbered `held`, which it edits, are kept as they are.

    What is computed again edits copies of them: a batch counts once, and running statistics move once.
    """

    def run(*others: Any) -> Any:
        given = list(others)
        for i in held:
            given.insert(i, inputs[i].clone() if is_recomputation() else inputs[i])
        return body(*given)

    return checkpoint(run, *(each for i, each in enumerate(inputs) if i not in held), **options)
