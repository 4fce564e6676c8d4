"""A penalty by PyTorch's double backward: for networks without tangent rules, where it is asked for by name."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse.penalties.problem import Problem


def by_double_backward(problem: Problem) -> tuple[Tensor, Tensor]:
    """The penalty () with its graph, and the norms (N,) without."""
    with torch.enable_grad():
        wanted = problem.point.requires_grad
        point = problem.point if wanted else problem.point.detach().requires_grad_()
        output = problem.output(point)
        (gradient,) = torch.autograd.grad(
            output, point, problem.seed(output), create_graph=True, allow_unused=True, materialize_grads=True
        )
        norms = _norms(gradient)
        return problem.weight * problem.cost(norms), norms.detach()


def _norms(gradient: Tensor) -> Tensor:
    """(N,), as `norms.norms_of` has them; `vector_norm` has the gradient 0 at 0."""
    wide = gradient if gradient.dtype == torch.float64 else gradient.float()
    rows = wide.reshape(wide.shape[0], -1)
    largest = rows.detach().abs().amax(1, keepdim=True)
    largest = torch.where(largest > 0, largest, 1)
    scaled: Tensor = torch.linalg.vector_norm(rows / largest, dim=1)
    return scaled * largest[:, 0]
