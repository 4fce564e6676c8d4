"""A call of a launcher whose kernels have cards: compiled for a target, or run where their accesses are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from genfuse_bench.compiled import compiling_only


@dataclass(frozen=True)
class Call:
    """`function(*arguments, **options)` on CPU tensors of ones and zeros.

    case     what a card says of the call
    kernels  those that have a card of this call, without "_kernel"; (): all that it launches
    flops    products and sums of its matrix product; None: it has none
    ring     the option that is a ring of slots, each of which counts as a tensor
    """

    case: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    kernels: tuple[str, ...] = ()
    flops: int | None = None
    ring: str = ""

    def run(self) -> Any:
        """Launch its kernels, or what stands in for that; what the function returns."""
        return self.function(*self.arguments, **self.options)

    def named(self, kernel: str) -> str | None:
        """The card's name of a kernel that the call launches; None where it has none."""
        name = kernel.removesuffix("_kernel")
        return name if not self.kernels or name in self.kernels else None

    def tensors(self, returned: Any = None) -> list[Tensor]:
        """Those that it is given, and those that it returned, each once."""
        given = {name: value for name, value in self.options.items() if name != self.ring or value is None}
        leaves = [leaf for leaf in tree_leaves((self.arguments, given, returned)) if isinstance(leaf, Tensor)]
        slots = self.options.get(self.ring)
        leaves += [] if slots is None else list(slots)
        return list({(t.data_ptr(), t.numel(), t.dtype): t for t in leaves}.values())

    def compiled(self) -> Iterator[tuple[str, Any]]:
        """(kernel, binary) for the active target, each kernel once."""
        with compiling_only() as found:
            self.run()
        for kernel, binary in dict(found).items():
            name = self.named(kernel)
            if name is not None:
                yield name, binary


def ones(
    *shape: int, dtype: torch.dtype = torch.float32, layout: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """Small numbers, so that no sum of half precision overflows."""
    return torch.full(shape, 2.0**-7, dtype=dtype).contiguous(memory_format=layout)
