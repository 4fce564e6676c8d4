"""A penalty by PyTorch's double backward: for networks without tangent rules, where it is asked for by name."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse.penalties.modules_of import modules_of
from genfuse.penalties.problem import Problem
from genfuse.rollback import rollback_on_failure
from genfuse_kernels.norm_direction import reference


def by_double_backward(problem: Problem) -> tuple[Tensor, Tensor]:
    """The penalty () with its graph, and the norms (N,) without. Where it raises, buffers are what they were."""
    with torch.enable_grad(), rollback_on_failure(*modules_of(problem.network)):
        wanted = problem.point.requires_grad
        point = problem.point if wanted else problem.point.detach().requires_grad_()
        output = problem.output(point)
        (gradient,) = torch.autograd.grad(
            output, point, problem.seed(output), create_graph=True, allow_unused=True, materialize_grads=True
        )
        norms = reference.norm_direction(gradient)[0]
        return problem.weight * problem.cost(norms), norms.detach()
