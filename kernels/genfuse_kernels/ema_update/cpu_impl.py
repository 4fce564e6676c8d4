"""`ema_update` by the C++ kernel: csrc/ema_update."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import columns


def ema_update(averages: Sequence[Tensor], parameters: Sequence[Tensor], decay: float) -> None:
    """Change `averages` in place; see `spec`. ValueError, with nothing written, for shapes that differ."""
    contiguous = (map(Tensor.is_contiguous, averages), map(Tensor.is_contiguous, parameters))
    flat = list(map(operator.and_, *contiguous))
    _cpu.ema_update(columns(averages, flat), columns(parameters, flat), decay, torch.get_num_threads())
