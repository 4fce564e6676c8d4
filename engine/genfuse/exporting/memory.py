"""Where a plan's operands lie: in one arena, or in tensors of the file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from genfuse.errors import UnsupportedError
from genfuse.rewrite.glue import is_dense
from genfuse.rewrite.plan import Plan
from genfuse_kernels.common.packed_weights import dense

Place = int | list[int]
"""Bytes into the arena, or [tensor, bytes into it]."""


_ALIGNED = 64


class Tensors:
    """The tensors of a file, each once, in the order of their first use."""

    def __init__(self, named: Mapping[int, str]) -> None:
        """`named`: of the network's weights, by their address."""
        self._named = named
        self._numbers: dict[tuple[int, torch.dtype, int], int] = {}  # by address, dtype and elements
        self.tensors: dict[str, Tensor] = {}

    def number(self, tensor: Tensor) -> int:
        """Of a contiguous one, which is kept."""
        key = tensor.data_ptr(), tensor.dtype, tensor.numel()
        if key not in self._numbers:
            name = self._named.get(tensor.data_ptr(), f"constant.{len(self.tensors)}")
            name = f"{name}.{len(self.tensors)}" if name in self.tensors else name
            self._numbers[key] = len(self.tensors)
            self.tensors[name] = tensor
        return self._numbers[key]


class Memory:
    """One plan's."""

    def __init__(self, plan: Plan, tensors: Tensors) -> None:
        self._plan, self._tensors = plan, tensors
        self._starts, self._offsets, self.arena_bytes = plan.pool.laid_out()
        self._made: dict[int, int] = {}
        constants = [*plan.held, *(weight.memory for weight in plan.weights.values())]
        self._constants = sorted(_whole(constants), key=lambda tensor: tensor.data_ptr())

    def is_constant(self, address: int) -> bool:
        """Whether what lies there is the same in every run."""
        return address not in self._made and not self._plan.pool.covers(address)

    def make(self, address: int, nbytes: int) -> None:
        """Room in the arena for what a step writes outside the plan's pool."""
        self._made[address] = self.arena_bytes
        self.arena_bytes += -(-nbytes // _ALIGNED) * _ALIGNED

    def place(self, address: int, nbytes: int) -> Place:
        """Of what lies there. UnsupportedError for memory that no run would find again."""
        if address in self._made:
            return self._made[address]
        buffer = bisect_right(self._starts, address) - 1
        if buffer >= 0 and self._plan.pool.covers(address):
            return self._offsets[buffer] + address - self._starts[buffer]
        found = bisect_right([tensor.data_ptr() for tensor in self._constants], address) - 1
        tensor = self._constants[found] if found >= 0 else None
        if tensor is None or address + nbytes > tensor.data_ptr() + tensor.nbytes:
            raise UnsupportedError("a kernel reads memory that is neither the network's nor its plan's")
        return [self._tensors.number(tensor), address - tensor.data_ptr()]

    def weight(self, address: int) -> tuple[Place, torch.dtype]:
        """Of a convolution's weight as it was before it was packed to this address."""
        source = self._plan.sources.get(address)
        if source is None:
            raise UnsupportedError("a convolution's weights are computed in every call")
        raw = dense(source)
        self._plan.held.append(raw)  # lives, so that no other takes its address
        return [self._tensors.number(raw), 0], raw.dtype


def _whole(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
    """Those that fill their memory, in the order of the memory."""
    for tensor in tensors:
        if tensor.is_contiguous():
            yield tensor
        elif is_dense(tensor):
            yield tensor.as_strided((tensor.numel(),), (1,))
