"""`linear` in plain PyTorch: the definition of the op."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels.conv_norm_act.reference import activated, written
from genfuse_kernels.conv_norm_act.settings import Settings


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings, residual: Tensor | None
) -> Tensor:
    """The output (M, K); see `spec`."""
    h = activated(x, settings.activation, settings.negative_slope)
    y = F.linear(h, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
    return written(y, settings, residual)
