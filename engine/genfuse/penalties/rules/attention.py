"""Attention is composed of products and a softmax."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.penalties.rules.rule import Refused, composition


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
        raise Refused("enable_gqa is True, expected as many heads of keys as of queries")
    shares = _shares(query, key, attn_mask, is_causal, scale)
    return (F.dropout(shares, dropout_p) if dropout_p else shares) @ value


def _shares(
    query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool = False, scale: float | None = None
) -> Tensor:
    """Of each value in each result."""
    scores = (query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)) @ key.mT
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, -1)


@composition(F.multi_head_attention_forward)
def multi_head_attention_forward(
    function: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """`torch.nn.MultiheadAttention` of tokens (L, N, E), without what only language models ask for."""
    refused = {"bias_k": bias_k, "add_zero_attn": add_zero_attn or None, "key_padding_mask": key_padding_mask}
    for name, given in {**refused, "static_k": static_k, "static_v": static_v}.items():
        if given is not None:
            raise Refused(f"{name} of multi-head attention is given, expected none: it has no rule")
    if query.ndim != 3:
        raise Refused(f"tokens of multi-head attention are {query.ndim}-dimensional, expected (L, N, E)")
    separate = (q_proj_weight, k_proj_weight, v_proj_weight)
    weights: Any = separate if in_proj_weight is None else in_proj_weight.chunk(3)
    biases: Any = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (
        F.linear(tokens, weight, bias).unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3)
        for tokens, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    if attn_mask is not None:
        allowed = ~attn_mask if attn_mask.dtype == torch.bool else attn_mask  # True forbids here
        attn_mask = allowed if allowed.ndim == 2 else allowed.unflatten(0, (-1, num_heads))
    shares = _shares(q, k, attn_mask)
    if training and dropout_p:
        shares = F.dropout(shares, dropout_p)
    y = F.linear((shares @ v).permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
    if not need_weights:
        return y, None
    return y, shares.mean(1) if average_attn_weights else shares
