"""Tangents of softmax and its logarithm, by their results."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfuse.penalties.rules.rule import Called, Dual, rule


@rule("softmax", result="curved")
def softmax(called: Called, input: Dual, dim: int, *_: Any, **__: Any) -> Tensor:
    y: Tensor = called.result
    return y * (input.tangent - (y * input.tangent).sum(dim, keepdim=True))


@rule("log_softmax", result="curved")
def log_softmax(called: Called, input: Dual, dim: int, *_: Any, **__: Any) -> Tensor:
    y = torch.exp(called.result)
    return input.tangent - (y * input.tangent).sum(dim, keepdim=True)


@rule("logsumexp", inputs="curved")
def logsumexp(called: Called, input: Dual, dim: Any, keepdim: bool = False) -> Tensor:
    share = torch.exp(input.primal - torch.logsumexp(input.primal, dim, keepdim=True))
    return (share * input.tangent).sum(dim, keepdim=keepdim)
