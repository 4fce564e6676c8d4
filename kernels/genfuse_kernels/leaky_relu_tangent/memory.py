"""Whether a kernel may take tensors for runs of elements."""

from __future__ import annotations

import torch
from torch import Tensor


def are_alike(*tensors: Tensor) -> bool:
    """Whether the same elements follow one another without a gap in all of them."""
    strides = {tensor.stride() for tensor in tensors}
    return len(strides) == 1 and tensors[0].stride() == torch.empty_like(tensors[0], device="meta").stride()
