"""genfuse's own ops, composed of PyTorch's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfuse.ops.linear import Call as LinearCall
from genfuse.ops.norm_act import Call as NormActCall
from genfuse.ops.norm_act import composed
from genfuse.penalties.rules.rule import composition
from genfuse_kernels.attention import reference as attention_reference
from genfuse_kernels.linear import reference as linear_reference


@composition(torch.ops.genfuse.norm_act)
def norm_act(function: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
    return composed(NormActCall.of(arguments))


@composition(torch.ops.genfuse.linear)
def linear(function: Any, *arguments: Any) -> Tensor:
    return linear_reference.linear(*LinearCall.of(arguments))


@composition(torch.ops.genfuse.attention)
def attention(function: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    return attention_reference.attention(q, k, v, scale)
