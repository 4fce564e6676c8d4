"""How the CPU launchers hand tensors to the extension."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import torch
from torch import Tensor

DTYPE_CODES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
"""`genfuse_dtype` of csrc/common/tensor.h."""


def view(tensor: Tensor | None) -> tuple[int, tuple[int, ...]] | None:
    """(data pointer, strides), which is all that a kernel sees."""
    return None if tensor is None else (tensor.data_ptr(), tensor.stride())


Columns = tuple[list[int], list[int], list[int], list[tuple[int, tuple[int, ...], tuple[int, ...]]]]
"""Of a list of tensors: dtype codes, data pointers, numbers of elements, and (place, sizes, strides) of those that are
not one contiguous run."""

_dtype = attrgetter("dtype")


def columns(tensors: Sequence[Tensor], flat: Sequence[bool] | None = None) -> Columns:
    """Tensors as ops on lists take them, `flat` ones as a run, by default all contiguous ones.

    Column by column: a list has hundreds of tensors, and what is asked of each in a loop takes longer than small ones.
    """
    runs = list(map(Tensor.is_contiguous, tensors)) if flat is None else flat
    return (
        list(map(DTYPE_CODES.__getitem__, map(_dtype, tensors))),
        list(map(Tensor.data_ptr, tensors)),
        list(map(Tensor.numel, tensors)),
        [] if all(runs) else [(i, tuple(t.shape), t.stride()) for i, t in enumerate(tensors) if not runs[i]],
    )


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
