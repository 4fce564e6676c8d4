"""Images that several units read, in training: their kernels add up what each finds of the gradient."""

from __future__ import annotations

import operator
from typing import Any

from torch.fx import Graph, Node

from genfuse.ops.fan_out import fan_out
from genfuse.rewrite import patterns
from genfuse.rewrite.unit_calls import UnitCall, units_with_gradients

_IMAGES = ("x", "skip", "residual", "residual_skip")


def fan_images_out(graph: Graph, run_unit: Any) -> None:
    """Gives units that read an image as others do, where one of their kernels can add, an alias each.

    run_unit  what calls in the graph are made by
    """
    readers: dict[Node, list[tuple[UnitCall, str]]] = {}
    for unit in units_with_gradients(graph, run_unit):
        for name in _IMAGES:
            image = unit.tensors.get(name)
            if image is not None and patterns.is_settled(image):
                readers.setdefault(image, []).append((unit, name))
    for image, reads in readers.items():
        if len(reads) > 1 and any(_adds(unit, name) for unit, name in reads):
            _fan_out(graph, image, reads)


def _adds(unit: UnitCall, name: str) -> bool:
    """Whether the gradient is written by the kernel that adds: that of norm and activation."""
    return name in ("x", "skip") and (unit.settings.norm, unit.settings.activation) != ("none", "none")


def _fan_out(graph: Graph, image: Node, reads: list[tuple[UnitCall, str]]) -> None:
    with graph.inserting_before(reads[0][0].call):
        aliases = graph.call_function(fan_out, (image, len(reads)))
        for number, (unit, name) in enumerate(reads):
            alias = graph.call_function(operator.getitem, (aliases, number))
            alias.meta = dict(image.meta)
            unit.read_from(name, alias)
