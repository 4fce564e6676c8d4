"""Small tensors in the float32 that CPU kernels read them in: biases, norm parameters, embeddings of half precision."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES

on_made: ContextVar[Callable[[Tensor], None] | None] = ContextVar("genfuse_widened", default=None)
"""Told of each tensor that a kernel is given in another's place, where a plan is being made."""


def widened(tensor: Tensor | None) -> Tensor | None:
    """The same values in dense float32: the tensor itself, or one that the extension fills, so that plans record it."""
    if tensor is None or (tensor.dtype == torch.float32 and tensor.is_contiguous()):
        return tensor
    dense = tensor.contiguous()
    if dense.dtype not in (torch.bfloat16, torch.float16):
        return dense.to(torch.float32)
    wide = torch.empty_like(dense, dtype=torch.float32)
    _cpu.widen(DTYPE_CODES[dense.dtype], dense.data_ptr(), dense.numel(), wide.data_ptr())
    told = on_made.get()
    if told is not None:
        told(wide)
    return wide
