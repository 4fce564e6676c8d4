"""WGAN-GP's penalty as papers' code has it: the norm is made of a gradient that itself has a graph.

Six passes of the convolutions, two of them on zeros. What is to be gained: the second-order graph and its memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def gradient_penalty(critic: nn.Module, x: Tensor, weight: float) -> Tensor:
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    penalty: Tensor = weight * (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
