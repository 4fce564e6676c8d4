"""Attention is composed of two products and a softmax."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.errors import UnsupportedError
from genfuse.penalties.rules.rule import composition


@composition(F.scaled_dot_product_attention)
def scaled_dot_product_attention(
    function: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale·q·kᵀ + mask)·v (Vaswani et al. 2017, eq. 1)."""
    if enable_gqa:
        raise UnsupportedError("enable_gqa is True, expected as many heads of keys as of queries")
    scores = (query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)) @ key.mT
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        allowed = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if allowed else scores + attn_mask
    weights = torch.softmax(scores, -1)
    return (F.dropout(weights, dropout_p) if dropout_p else weights) @ value
