"""PyTorch's group norm, whose backward crashes for channels-last memory that needs no gradient itself."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.group_norm` of planar memory, its result planar too.

    PyTorch's backward of channels-last memory writes the parameters' gradients to no memory where input's is not wanted
    (2.13).
    """
    return F.group_norm(input.contiguous(), num_groups, weight, bias, eps)
