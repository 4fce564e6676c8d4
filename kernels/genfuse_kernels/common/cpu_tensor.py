"""How the CPU launchers hand tensors to the extension."""

from __future__ import annotations

import torch
from torch import Tensor

DTYPE_CODES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
"""`genfuse_dtype` of csrc/common/tensor.h."""


def view(tensor: Tensor | None) -> tuple[int, tuple[int, ...]] | None:
    """(data pointer, strides), which is all that a kernel sees."""
    return None if tensor is None else (tensor.data_ptr(), tensor.stride())


def rows_of(index: int | Tensor, samples: int) -> tuple[int, Tensor | None]:
    """(the row of all samples, or None and one a sample): an index of one element stands for all samples."""
    if not isinstance(index, Tensor):
        return int(index), None
    if index.numel() == 1:
        return int(index), None
    if tuple(index.shape) != (samples,):
        raise ValueError(f"index has shape {tuple(index.shape)}, expected () or ({samples},): a row a sample")
    return 0, index.to(torch.int64).contiguous()


def host_table(table: Tensor) -> Tensor:
    """The table as the kernels read it: dense float64."""
    return table.detach().to(torch.float64).contiguous()
