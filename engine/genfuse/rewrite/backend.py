"""A backend of torch.compile: Dynamo finds the graph, fused units replace its convolutions, PyTorch runs the rest."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Graph, GraphModule

from genfuse import dispatch, measured
from genfuse.names import check_name
from genfuse.rewrite import patterns
from genfuse.rewrite.fuse import fuse
from genfuse.rewrite.layouts import reads_around
from genfuse.rewrite.names import name_parameters
from genfuse.rewrite.options import Memory, check_options
from genfuse.rewrite.plan import Planned, lasts
from genfuse.rewrite.report import GraphReport, Report
from genfuse.rewrite.traceable import is_exchange
from genfuse_kernels.conv_norm_act.settings import Accuracy


@dataclass
class Backend:
    """`torch.compile(model, backend=Backend())`; its report says what every graph became."""

    accuracy: Accuracy | None = None
    memory: Memory | None = None
    memory_limit: int | None = None
    reproducible: bool = True
    names: Mapping[int, str] = field(default_factory=dict)
    """of the model's parameters, by their identity"""
    frozen: bool = False
    report: Report = field(default_factory=Report)
    calls: list[Callable[..., Any]] = field(default_factory=list)
    """what it returned: lives as long as the backend, though Dynamo may hold it weakly"""

    def __call__(self, module: GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        """The rewritten graph's forward."""
        tensors = [value for value in example_inputs if isinstance(value, torch.Tensor)]
        enables = _enables_gradients(module)
        gradients = enables or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
        given = [f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in tensors if not lasts(t)]
        report = GraphReport(" and ".join(given) or "no tensors", gradients)
        name_parameters(module.graph, example_inputs, self.names)
        never = "gradients are enabled inside" if enables else None
        if reads_around(module, example_inputs):
            never = "memory around an argument is read"
        if any(is_exchange(node) for graph in _graphs(module) for node in graph.nodes):
            never = "processes exchange statistics inside"
        fuse(module, report, self.accuracy, self.memory_limit, self.memory)
        report.plan = planned = Planned(module.forward, never)
        planned.frozen = self.frozen
        self.report.graphs.append(report)

        def measuring(*args: Any) -> Any:
            with dispatch.backend(reproducible=False), measured.telling(report.tell):
                return planned(*args)

        self.calls.append(planned if self.reproducible else measuring)
        return self.calls[-1]


def _enables_gradients(module: GraphModule) -> bool:
    """Whether some call may need gradients although they are disabled where the graph begins."""
    if torch.is_grad_enabled():
        return False
    return any(patterns.switched_to(node) for graph in _graphs(module) for node in graph.nodes)


def _graphs(module: GraphModule) -> list[Graph]:
    """Its own, and those of blocks inside."""
    return [each.graph for each in module.modules() if isinstance(each, GraphModule)]


def genfuse_backend(
    module: GraphModule, example_inputs: list[Any], *, options: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """`torch.compile(model, backend="genfuse", dynamic=False, options={...})`: with `optimize`'s options.

    They are accuracy, memory, memory_limit and reproducible. Without `dynamic=False` Dynamo makes one graph of
    unknown sizes for all pictures from the second size on, in which nothing can be fused: a warning says so. Batch
    norms of momentum None and synchronised ones stay PyTorch's here, which end Dynamo's graphs, and a forward that
    fails leaves the running statistics of earlier layers moved, as PyTorch's does; `optimize` has neither.

    ValueError for any other option, and what `optimize` raises for a value.
    """
    given = dict(options or {})
    for name in given:
        check_name("option", name, ("accuracy", "memory", "memory_limit", "reproducible"))
    check_options(**given)
    if any(isinstance(value, torch.SymInt) for value in example_inputs):
        warnings.warn(
            "sizes are not known in this graph, and nothing is fused; pass dynamic=False to torch.compile",
            stacklevel=2,
        )
    return Backend(**given)(module, example_inputs)
