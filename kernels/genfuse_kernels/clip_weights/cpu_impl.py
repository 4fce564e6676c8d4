"""`clip_weights` by the C++ kernel: csrc/clip_weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import columns


def clip_weights(parameters: Sequence[Tensor], bound: float) -> None:
    """Change `parameters` in place; see `spec`."""
    _cpu.clip_weights(columns(parameters), bound, torch.get_num_threads())
