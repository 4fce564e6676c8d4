"""A critic of convolutions and LeakyReLUs is linear by pieces: tangents take the slopes of the one run there was.

Forward, data gradient, tangents, and the tangents' own backward pass, for data and weights: five passes of the
convolutions. What is to be gained: signals of the data gradient are those of the tangents' backward pass, so that the
weights' gradients need four, and kernels that apply slopes while a convolution reads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gradient_penalty(critic: nn.Module, x: Tensor, weight: float) -> Tensor:
    x = x.detach().requires_grad_()
    assert isinstance(critic, nn.Sequential)
    slopes, h = [], x
    for layer in critic:
        h = layer(h)
        if isinstance(layer, nn.LeakyReLU):
            slopes.append(torch.where(h.detach() > 0, h.new_ones(()), h.new_tensor(layer.negative_slope)))
    (gradient,) = torch.autograd.grad(h.sum(), x)
    norms = gradient.flatten(1).norm(dim=1)
    tangent = gradient * (2 * weight * (norms - 1) / (len(x) * norms))[:, None, None, None]
    at = iter(slopes)
    for layer in critic:
        if isinstance(layer, nn.Conv2d):
            tangent = F.conv2d(tangent, layer.weight, None, layer.stride, layer.padding)
        else:
            tangent = tangent * next(at) if isinstance(layer, nn.LeakyReLU) else layer(tangent)
    along = tangent.sum()
    value = weight * (norms - 1).square().mean()
    return value + along - along.detach()
