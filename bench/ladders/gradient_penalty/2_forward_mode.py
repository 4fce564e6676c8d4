"""The weights' gradient of a directional derivative, by PyTorch's forward mode: `docs/how/tangent_pass.md`.

The first gradient needs no graph of its own; the pass of tangents runs the critic once more beside them. Exact for
convolutions and activations: below a layer norm PyTorch's forward mode loses the dependence on the point.
What is to be gained: the second run of the critic itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def gradient_penalty(critic: nn.Module, x: Tensor, weight: float) -> Tensor:
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x)
    norms = gradient.flatten(1).norm(dim=1)
    # of weight · mean (n − 1)², along the unit vector of the gradient
    slopes = 2 * weight * (norms - 1) / (len(x) * norms)
    direction = gradient * slopes[:, None, None, None]
    with forward_ad.dual_level():
        out = critic(forward_ad.make_dual(x.detach(), direction))
        along: Tensor = forward_ad.unpack_dual(out).tangent.sum()
    value = weight * (norms - 1).square().mean()
    return value + along - along.detach()
