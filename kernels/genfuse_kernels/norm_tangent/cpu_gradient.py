"""The gradients of `norm_tangent` by the C++ kernels."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from genfuse_kernels.norm_tangent.cpu_impl import run

NAMES = ("x", "tangent", "weight")


def norm_tangent_gradient(
    gradient: Tensor, x: Tensor, tangent: Tensor, weight: Tensor | None, eps: float, needs: Collection[str]
) -> dict[str, Tensor]:
    """The gradients that `needs` names of `NAMES`, from that of the result (B, S), contiguous; see `spec`."""
    of = {"x": x, "tangent": tangent, "weight": weight}
    found = {name: torch.empty_like(tensor) for name in needs if (tensor := of[name]) is not None}
    if found:
        wanted = {f"{name}_gradient": tensor for name, tensor in found.items()}
        run(x, tangent, weight, eps, gradient=gradient, **wanted)
    return found
