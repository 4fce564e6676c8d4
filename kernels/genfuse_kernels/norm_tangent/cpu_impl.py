"""`norm_tangent` by the C++ kernels: csrc/norm_tangent."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels import _cpu


def norm_tangent(out: Tensor, x: Tensor, tangent: Tensor, weight: Tensor | None, eps: float) -> None:
    """Fill `out`; see `spec`."""
    run(x, tangent, weight, eps, out=out)


def run(x: Tensor, tangent: Tensor, weight: Tensor | None, eps: float, **wanted: Tensor) -> None:
    """`wanted` by the names of `_cpu.norm_tangent`: `gradient`, and what is filled."""
    _cpu.norm_tangent(
        size(x),
        (1, 1) if weight is None else size(weight),
        x.data_ptr(),
        tangent.data_ptr(),
        0 if weight is None else weight.data_ptr(),
        eps,
        **{name: tensor.data_ptr() for name, tensor in wanted.items()},
        threads=torch.get_num_threads(),
    )


def size(matrix: Tensor) -> tuple[int, int]:
    """Rows and columns."""
    return matrix.shape[0], matrix.shape[1]
