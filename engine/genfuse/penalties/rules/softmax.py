"""Tangents of softmax and its logarithm, by their results."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.penalties.rules.rule import Called, Dual, composition, rule


@rule("softmax", result="curved")
def softmax(called: Called, input: Dual, dim: int | None = None, *_: Any, **__: Any) -> Tensor:
    y: Tensor = called.result
    dim = _axis(dim, y)
    return y * (input.tangent - (y * input.tangent).sum(dim, keepdim=True))


@rule("log_softmax", result="curved")
def log_softmax(called: Called, input: Dual, dim: int | None = None, *_: Any, **__: Any) -> Tensor:
    y = torch.exp(called.result)
    dim = _axis(dim, y)
    return input.tangent - (y * input.tangent).sum(dim, keepdim=True)


def _axis(dim: int | None, y: Tensor) -> int:
    """What `torch.nn.functional` takes where none is given."""
    return (0 if y.ndim in (0, 1, 3) else 1) if dim is None else dim


@composition("softmin")
def softmin(
    function: Any, input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    return F.softmax(-input, dim, _stacklevel, dtype)


@rule("logsumexp", inputs="curved")
def logsumexp(called: Called, input: Dual, dim: Any, keepdim: bool = False) -> Tensor:
    share = torch.exp(input.primal - torch.logsumexp(input.primal, dim, keepdim=True))
    return (share * input.tangent).sum(dim, keepdim=keepdim)
