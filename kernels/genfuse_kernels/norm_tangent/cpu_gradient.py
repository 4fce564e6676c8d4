"""The gradients of `norm_tangent` by the C++ kernels."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from genfuse_kernels.norm_tangent.cpu_impl import run

NAMES = ("x", "tangent", "weight")


def norm_tangent_gradient(
    gradient: Tensor,
    x: Tensor,
    tangent: Tensor,
    weight: Tensor | None,
    eps: float,
    needs: Collection[str],
    out: Tensor | None = None,
) -> dict[str, Tensor]:
    """The gradients that `needs` names of `NAMES`, from that of the result (B, S), contiguous; see `spec`.

    out   is filled with the result beside them: everything is read once for both
    """
    of = {"x": x, "tangent": tangent, "weight": weight}
    found = {name: torch.empty_like(tensor) for name in needs if (tensor := of[name]) is not None}
    wanted = {f"{name}_gradient": tensor for name, tensor in found.items()}
    if out is not None:
        wanted["out"] = out
    if wanted:
        run(x, tangent, weight, eps, gradient=gradient, **wanted)
    return found
