"""How a GPU kernel sees a tensor: a sample as channels × positions, (C, H·W), each with a stride.

A tensor is fit where its positions collapse to one stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

INT32_LIMIT = 2**31
"""Offsets within a sample from here on are computed in 64 bits."""


class Operand(NamedTuple):
    """A tensor as a kernel sees it; `pointer` None: absent."""

    pointer: Tensor | None
    batch: int
    channel: int
    position: int


def plane_strides(tensor: Tensor) -> tuple[int, int, int] | None:
    """Strides of sample, channel and position of (N, C, *positions); None where positions don't collapse."""
    batch, channel = tensor.stride(0), tensor.stride(1) if tensor.ndim > 1 else 0
    position = 0
    span = None
    for size, stride in zip(reversed(tensor.shape[2:]), reversed(tensor.stride()[2:]), strict=True):
        if size == 1:
            continue
        if span is None:
            position = stride
        elif stride != span:
            return None
        span = stride * size
    return batch, channel, position


def fit(tensor: Tensor | None) -> Tensor | None:
    """`as_planes`, of a tensor that may be absent."""
    return None if tensor is None else as_planes(tensor)


def fit_slots(history: Tensor | None) -> Tensor | None:
    """A history (R, N, C, *positions) whose slots are fit, or a contiguous copy; None where it has no slots."""
    if history is None or history.shape[0] == 0:
        return None
    return history if plane_strides(history[0]) is not None else history.contiguous()


def give_back(*written: tuple[Tensor | None, Tensor | None]) -> None:
    """Copies what a kernel wrote to where the caller wants it: pairs of the caller's tensor and the one made fit."""
    for given, used in written:
        if given is not None and used is not None and used is not given:
            given.copy_(used)


def as_planes(tensor: Tensor) -> Tensor:
    """The tensor itself where a kernel can walk over it, else a contiguous copy."""
    return tensor if plane_strides(tensor) is not None else tensor.contiguous()


def operand(tensor: Tensor | None) -> Operand:
    """`tensor`, fit, as a kernel argument."""
    if tensor is None:
        return Operand(None, 0, 0, 0)
    strides = plane_strides(tensor)
    if strides is None:
        raise ValueError(f"strides {tensor.stride()} don't collapse; pass the tensor through fit()")
    return Operand(tensor, *strides)


def inner_strides(tensor: Tensor) -> tuple[int, ...]:
    """Strides within a sample; those of dimensions of size 1 say nothing and read as 0."""
    dims = zip(tensor.shape[1:], tensor.stride()[1:], strict=True)
    return tuple(0 if size == 1 else stride for size, stride in dims)


def is_dense(shape: Sequence[int], strides: Sequence[int], *, contiguous: bool) -> bool:
    """Whether the sample fills one stretch of memory, and in logical order where `contiguous`."""
    dims = [(stride, size) for stride, size in zip(strides, shape, strict=True) if size != 1]
    if not contiguous:
        dims.sort(reverse=True)
    expected = 1
    for stride, size in reversed(dims):
        if stride != expected:
            return False
        expected *= size
    return True


def reach(tensor: Tensor) -> int:
    """Elements between the first and the last of a sample."""
    return sum(
        (size - 1) * abs(stride) for size, stride in zip(tensor.shape[1:], tensor.stride()[1:], strict=True)
    )
