"""Tangents of what only moves elements or their memory, or changes their dtype: the function itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.penalties.rules.rule import Called, Dual, rule


@rule(
    "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "transpose", "permute", "movedim", "swapaxes",
    "t", "T", "mT", "expand", "broadcast_to", "repeat", "tile", "repeat_interleave", "ravel",
    "contiguous", "clone", "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "narrow", "select",
    "diagonal", "flip", "roll", "rot90", "index_select", "gather", "take_along_dim", Tensor.__getitem__,
    "tril", "triu", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "unfold", "fold",
    "to", "float", "double", "half", "bfloat16", "type", "cpu", "cuda",
)  # fmt: skip
def moved(called: Called, input: Dual, *rest: Any, **named: Any) -> Any:
    return called.function(input.tangent, *rest, **named)


@rule("view")
def view(called: Called, input: Dual, *shape: Any) -> Tensor:
    """By `reshape`: the tangent's memory may lie in another order."""
    return input.tangent.reshape(*shape)


@rule("view_as", "reshape_as", "expand_as")
def shaped_as(called: Called, input: Any, other: Any) -> Tensor:
    if not isinstance(input, Dual):
        return torch.zeros_like(input)
    shape = (other.tangent if isinstance(other, Dual) else other).shape
    return (
        input.tangent.expand(shape) if called.function is Tensor.expand_as else input.tangent.reshape(shape)
    )


@rule("type_as")
def typed_as(called: Called, input: Any, other: Any) -> Tensor:
    return input.tangent if isinstance(input, Dual) else torch.zeros_like(input)


@rule("cat", "concat", "concatenate", "stack", "hstack", "vstack")
def joined(called: Called, tensors: Sequence[Any], *rest: Any, **named: Any) -> Tensor:
    parts = [t.tangent if isinstance(t, Dual) else torch.zeros_like(t) for t in tensors]
    found: Tensor = called.function(parts, *rest, **named)
    return found


@rule(F.pad)
def pad(called: Called, input: Dual, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    return F.pad(input.tangent, pad, mode)
