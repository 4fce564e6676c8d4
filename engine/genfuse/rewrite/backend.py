"""A backend of torch.compile: Dynamo finds the graph, fused units replace its convolutions, PyTorch runs the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import GraphModule

from genfuse.rewrite.fuse import fuse
from genfuse.rewrite.plan import Planned
from genfuse.rewrite.report import Report
from genfuse_kernels.conv_norm_act.settings import Accuracy


@dataclass
class Backend:
    """`torch.compile(model, backend=Backend())`; its report says what every graph became."""

    accuracy: Accuracy = "fast"
    memory_limit: int | None = None
    frozen: bool = False
    report: Report = field(default_factory=Report)

    def __call__(self, module: GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        """The rewritten graph's forward."""
        self.report.graphs += 1
        gradients = torch.is_grad_enabled() and any(
            isinstance(value, torch.Tensor) and value.requires_grad for value in example_inputs
        )
        planned = Planned(fuse(module, self.report, self.accuracy, gradients, self.memory_limit).forward)
        planned.frozen = self.frozen
        self.report.plans.append(planned)
        return planned


def genfuse_backend(module: GraphModule, example_inputs: list[Any], **_: Any) -> Callable[..., Any]:
    """`torch.compile(model, backend="genfuse")`."""
    return Backend()(module, example_inputs)
