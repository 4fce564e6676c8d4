"""Tensors in every layout, each between memory full of NaN that nobody may read or write."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced", "batch_strided")

GUARD = 64
"""Elements of NaN on either side of a contiguous tensor."""


def laid_out(values: Tensor, layout: str) -> Tensor:
    """A copy of `values` with other strides, NaN in all memory that is not its own."""
    shape = values.shape
    if layout == "transposed" and values.ndim > 2:
        room = torch.full((shape[0], *reversed(shape[1:])), math.nan, dtype=values.dtype)
        view = room.permute(0, *range(values.ndim - 1, 0, -1))
    elif layout == "channels_last" and values.ndim > 2:
        room = torch.full((shape[0], *shape[2:], shape[1]), math.nan, dtype=values.dtype)
        view = room.permute(0, values.ndim - 1, *range(1, values.ndim - 1))
    elif layout == "sliced" and values.ndim > 1:
        room = torch.full((*shape[:-1], 2 * shape[-1] + 3), math.nan, dtype=values.dtype)
        view = room[..., 1 : 1 + 2 * shape[-1] : 2]
    elif layout == "batch_strided" and values.ndim > 1:
        room = torch.full((shape[0], 2 * shape[1] + 1, *shape[2:]), math.nan, dtype=values.dtype)
        view = room[:, : shape[1]]
    else:
        room = torch.full((values.numel() + 2 * GUARD,), math.nan, dtype=values.dtype)
        view = room[GUARD : GUARD + values.numel()].view(shape)
    view.copy_(values)
    return view


def poisoned(shape: tuple[int, ...] | torch.Size, dtype: torch.dtype, layout: str = "contiguous") -> Tensor:
    """Room for a result, full of NaN itself, so that what nobody writes shows."""
    return laid_out(torch.full(tuple(shape), math.nan, dtype=dtype), layout)


def own_elements(view: Tensor) -> Tensor:
    """Which elements of the view's storage are its own."""
    whole = torch.zeros(view.untyped_storage().nbytes() // view.element_size(), dtype=torch.bool)
    whole.as_strided(view.shape, view.stride(), view.storage_offset()).fill_(True)
    return whole


def untouched_elsewhere(view: Tensor) -> bool:
    """Whether all memory around a `laid_out` tensor still holds its NaN."""
    storage = torch.empty(0, dtype=view.dtype).set_(view.untyped_storage())
    return bool(storage[~own_elements(view)].isnan().all())
