"""`norm_direction`: the 2-norm of each sample and its direction, as gradient penalties need them."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse import dispatch
from genfuse.ops import check
from genfuse.ops.library import LIBRARY, define, fake, needs_dispatcher, needs_gradient
from genfuse_kernels.norm_direction import reference


def norm_direction(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of each sample the norm n = √Σx², and x/n, 0 where n is 0; neither overflows or vanishes on the way.

    x   (N, ...) float32, bfloat16 or float16, or any floating dtype on `aten`

    Returns (N,) and (N, ...), float32, or float64 where x is; differentiable by PyTorch's own kernels. ValueError or
    TypeError for what is no batch.
    """
    check.sample("x", x)
    if not needs_dispatcher(x):
        return _norm_direction(x)
    result: tuple[Tensor, Tensor] = torch.ops.genfuse.norm_direction(x)
    return result


def _outputs(x: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty(x.shape[:1], dtype=dtype), torch.empty_like(x, dtype=dtype)


# --- registration ---

define("norm_direction(Tensor x) -> (Tensor, Tensor)")


@torch.library.impl(LIBRARY, "norm_direction", "CPU")
@torch.library.impl(LIBRARY, "norm_direction", "CUDA")
def _norm_direction(x: Tensor) -> tuple[Tensor, Tensor]:
    norms, direction = _outputs(x)
    dispatch.select("norm_direction", x.device, x.dtype)(norms, direction, x)
    return norms, direction


@fake("norm_direction")
def _fake(x: Tensor) -> tuple[Tensor, Tensor]:
    return _outputs(x)


@torch.library.impl(LIBRARY, "norm_direction", "Autograd")
def _autograd(x: Tensor) -> tuple[Tensor, Tensor]:
    if needs_gradient(x):
        dispatch.select("norm_direction", x.device, x.dtype, gradients=True)
        return reference.norm_direction(x)
    with torch._C._AutoDispatchBelowAutograd():
        result: tuple[Tensor, Tensor] = torch.ops.genfuse.norm_direction(x)
    return result
