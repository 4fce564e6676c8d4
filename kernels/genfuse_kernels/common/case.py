"""One generated call of an op, and what it has to give: what every launcher, from wherever, is held against.

`genfuse_kernels.<op>.cases.case(seed, dtype, product)` makes them:

    dtype     of x
    product   what factors of a matrix product may be rounded to: float32, a half precision, "tf32" or "tf32x3"
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from genfuse_kernels.common.guarded import poisoned, untouched_elsewhere

Product = torch.dtype | str


@dataclass
class Output:
    """A tensor that the call writes, in guarded memory.

    expected   the definition's result in float64
    allowed    what each element may be off by, float64, of its shape or broadcast to it; 0: to the bit
    """

    name: str
    tensor: Tensor
    expected: Tensor
    allowed: Tensor

    def error(self) -> float:
        """The largest error, as a share of what is allowed; infinite where something else is NaN or infinite."""
        got, want = self.tensor.double(), self.expected.double()
        if not got.numel():
            return 0.0
        same = (got == want) | (got.isnan() & want.isnan())
        share = ((got - want).abs() / self.allowed).masked_fill(same, 0.0)
        return float(share.nan_to_num(nan=math.inf, posinf=math.inf).max())


@dataclass
class Case:
    """Arguments by the launcher's names, and what they give."""

    name: str
    arguments: dict[str, Any]
    outputs: list[Output]
    read: list[Tensor] = field(default_factory=list)
    """Inputs in guarded memory, which stays as it is."""

    def run(self, launch: Callable[..., None]) -> float:
        """Call it; the largest error as a share of what is allowed. MemoryError where it wrote elsewhere."""
        before = [tensor.clone() for tensor in self.read]
        launch(**self.arguments)
        for output in self.outputs:
            if not untouched_elsewhere(output.tensor):
                raise MemoryError(f"it wrote outside of {output.name}")
        for tensor, was in zip(self.read, before, strict=True):
            if not torch.equal(tensor.nan_to_num(), was.nan_to_num()):
                raise MemoryError("it changed what it should only read")
        return max((output.error() for output in self.outputs), default=0.0)


def output(
    name: str,
    expected: Tensor,
    allowed: Tensor | float,
    dtype: torch.dtype,
    layout: str = "contiguous",
) -> Output:
    """Room full of NaN for a result."""
    room = poisoned(expected.shape, dtype, layout)
    return Output(name, room, expected, torch.as_tensor(allowed, dtype=torch.float64, device="cpu"))


def short(dtype: torch.dtype) -> str:
    """A dtype's name."""
    return str(dtype).removeprefix("torch.")


def double(tensor: Tensor | None) -> Tensor | None:
    """Floating ones in float64, dense."""
    return tensor if tensor is None or not tensor.is_floating_point() else tensor.double().contiguous()


def smallest(dtype: torch.dtype) -> float:
    """The step of a dtype's subnormal numbers."""
    return torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
