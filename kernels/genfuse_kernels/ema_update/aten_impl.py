"""`ema_update` by PyTorch's own kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def ema_update(averages: Sequence[Tensor], parameters: Sequence[Tensor], decay: float) -> None:
    """Change `averages` in place; see `spec`. Where the dtypes differ, in the one that holds both."""
    same: tuple[list[Tensor], list[Tensor]] = ([], [])
    for average, parameter in zip(averages, parameters, strict=True):
        if average.dtype == parameter.dtype:
            same[0].append(average)
            same[1].append(parameter)
        else:
            dtype = torch.promote_types(average.dtype, parameter.dtype)
            average.copy_(torch.lerp(average.to(dtype), parameter.to(dtype), 1 - decay))
    if same[0]:
        torch._foreach_lerp_(*same, 1 - decay)
