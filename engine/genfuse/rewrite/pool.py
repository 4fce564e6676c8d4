"""Memory of a plan: buffers that are given out again when nothing alive is in them any more."""

from __future__ import annotations

import math
import weakref
from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

_ROUND = 4096


class Pool:
    """Buffers on the CPU, kept as long as the pool is; the order of use decides which one a tensor gets.

    A plan repeats the same calls in the same order, so that a buffer which is free while it is made is free at that
    place in every run.
    """

    def __init__(self) -> None:
        self._buffers: dict[int, Tensor] = {}  # by address
        self._starts: list[int] = []
        self._free: list[tuple[int, int]] = []  # (bytes, address)
        self._alive: dict[int, int] = {}  # tensors in the buffer at this address

    @property
    def nbytes(self) -> int:
        """Of all buffers."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

    def empty(self, shape: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor without values, to be tracked."""
        last = sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        count = 0 if 0 in shape else last + 1
        storage = self._take(count * dtype.itemsize).untyped_storage()
        return torch.empty(0, dtype=dtype, device="cpu").set_(storage, 0, tuple(shape), tuple(stride))

    def like(self, tensor: Tensor) -> Tensor:
        """A tensor of the same form, to be tracked; dense where the strides overlap or leave gaps."""
        form = torch.empty_like(tensor, device="meta")
        return self.empty(tensor.shape, form.stride(), tensor.dtype)

    def track(self, tensor: Tensor) -> None:
        """Counts the tensor as alive in its buffer, if it lies in one, until it is gone."""
        address = self._address(tensor)
        if address in self._buffers:
            self._alive[address] = self._alive.get(address, 0) + 1
            weakref.finalize(tensor, self._dropped, address).atexit = False

    def has(self, tensor: Tensor) -> bool:
        """Whether the tensor lies in a buffer of this pool."""
        return self._address(tensor) in self._buffers

    def holds_any(self, storages: Iterable[int]) -> bool:
        """Whether one of these addresses is a buffer's."""
        return any(storage in self._buffers for storage in storages)

    def covers(self, address: int) -> bool:
        """Whether some buffer contains this address."""
        place = bisect_right(self._starts, address) - 1
        if place < 0:
            return False
        start = self._starts[place]
        return address < start + self._buffers[start].nbytes

    def laid_out(self) -> tuple[list[int], list[int], int]:
        """The buffers' addresses in order, their places where they follow each other, and the bytes of all."""
        offsets = [0]
        for start in self._starts:
            offsets.append(offsets[-1] + self._buffers[start].nbytes)
        return self._starts, offsets[:-1], offsets[-1]

    @staticmethod
    def _address(tensor: Tensor) -> int:
        return tensor.untyped_storage().data_ptr()

    def _take(self, nbytes: int) -> Tensor:
        wanted = math.ceil(max(nbytes, 1) / _ROUND) * _ROUND
        for place, (size, address) in enumerate(self._free):
            if size >= wanted:
                del self._free[place]
                return self._buffers[address]
        buffer = torch.empty(wanted, dtype=torch.uint8, device="cpu")
        address = buffer.data_ptr()
        self._buffers[address] = buffer
        insort(self._starts, address)
        return buffer

    def _dropped(self, address: int) -> None:
        self._alive[address] -= 1
        if self._alive[address] == 0:
            insort(self._free, (self._buffers[address].nbytes, address))
