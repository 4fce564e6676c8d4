"""Runs a kernel's CPU cases on a device, for machines that have one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def on_device(kernel: Callable[..., None], device: str = "cuda") -> Callable[..., None]:
    """`kernel` on copies of whole storages on `device`, copied back: strides, offsets and overlaps are kept."""

    def run(*arguments: Any, **options: Any) -> None:
        copies: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

        def moved(value: Any) -> Any:
            if type(value) is list:
                return [moved(each) for each in value]
            if not isinstance(value, Tensor):
                return value
            storage = value.untyped_storage()
            key = storage.data_ptr(), storage.nbytes()
            if key not in copies:
                there = torch.empty(0, dtype=torch.uint8).set_(storage)
                copies[key] = there, there.to(device, copy=True)
            copied = copies[key][1].untyped_storage()
            view = torch.empty(0, dtype=value.dtype, device=device)
            return view.set_(copied, value.storage_offset(), value.shape, value.stride())

        kernel(*map(moved, arguments), **{name: moved(value) for name, value in options.items()})
        for original, copied in copies.values():
            original.copy_(copied)

    return run
