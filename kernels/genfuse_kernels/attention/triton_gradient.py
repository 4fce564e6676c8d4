"""The gradients of `attention` in Triton: scores are made again, tile by tile, and nothing of their size is kept.

With P the weights, Δ of a query Σ out̄·out, and P̄ = out̄·vᵀ (Dao et al. 2022, algorithm 4):

    v̄ = Pᵀ·out̄    S̄ = P∘(P̄ − Δ)    q̄ = scale·S̄·k    k̄ = scale·S̄ᵀ·q

One launch goes by blocks of queries and makes Δ and q̄, one by blocks of keys and makes k̄ and v̄: each sum has one
program and one order, and no atomic is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.attention.triton_impl import (
    LOG2E,
    Blocks,
    arguments,
    block_of,
    heads_of,
    load_block,
    side,
)


@triton.jit(do_not_specialize=["scale"])
def query_gradient_kernel(
    to_q, deltas, gradient, out, logs, q, k, v, heads, queries, keys, channels, values, scale,
    PRECISION: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr, WIDE: tl.constexpr, LOG2E: tl.constexpr,
):  # fmt: skip
    """q's gradient, and each query's Δ, of a block of queries."""
    blocks = tl.cdiv(queries, BLOCK_Q)
    of_head = tl.program_id(0) // blocks
    sample, head = (of_head // heads).to(tl.int64), (of_head % heads).to(tl.int64)
    query = tl.program_id(0) % blocks * BLOCK_Q + tl.arange(0, BLOCK_Q)
    d, e = tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_E)
    of_q = load_block(q, sample, head, query, d, queries, channels, WIDE)
    of_gradient = load_block(gradient, sample, head, query, e, queries, values, WIDE)
    of_out = load_block(out, sample, head, query, e, queries, values, WIDE)
    delta = tl.sum(of_out.to(tl.float32) * of_gradient.to(tl.float32), 1)
    place = of_head.to(tl.int64) * queries + query
    tl.store(deltas + place, delta, mask=query < queries)
    log = tl.load(logs + place, mask=query < queries, other=float("inf"))
    acc = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    for start in range(0, keys, BLOCK_K):
        key = start + tl.arange(0, BLOCK_K)
        of_k = load_block(k, sample, head, key, d, keys, channels, WIDE)
        score = tl.dot(of_q, tl.trans(of_k), input_precision=PRECISION) * (scale * LOG2E)
        weight = tl.where((key < keys)[None, :], tl.exp2(score - log[:, None]), 0.0)
        of_v = load_block(v, sample, head, key, e, keys, values, WIDE)
        slope = tl.dot(of_gradient, tl.trans(of_v), input_precision=PRECISION)
        change = weight * (slope - delta[:, None])
        acc = tl.dot(change.to(of_k.dtype), of_k, acc, input_precision=PRECISION)
    address, exists = block_of(to_q, sample, head, query, d, queries, channels, WIDE)
    tl.store(address, (acc * scale).to(to_q.pointer.dtype.element_ty), mask=exists)


@triton.jit(do_not_specialize=["scale"])
def key_gradient_kernel(
    to_k, to_v, deltas, gradient, logs, q, k, v, heads, queries, keys, channels, values, scale,
    PRECISION: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr, WIDE: tl.constexpr, LOG2E: tl.constexpr,
):  # fmt: skip
    """k's and v's gradients of a block of keys; tiles are keys by queries."""
    blocks = tl.cdiv(keys, BLOCK_K)
    of_head = tl.program_id(0) // blocks
    sample, head = (of_head // heads).to(tl.int64), (of_head % heads).to(tl.int64)
    key = tl.program_id(0) % blocks * BLOCK_K + tl.arange(0, BLOCK_K)
    d, e = tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_E)
    of_k = load_block(k, sample, head, key, d, keys, channels, WIDE)
    of_v = load_block(v, sample, head, key, e, keys, values, WIDE)
    acc_k = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    acc_v = tl.zeros((BLOCK_K, BLOCK_E), tl.float32)
    for start in range(0, queries, BLOCK_Q):
        query = start + tl.arange(0, BLOCK_Q)
        place = of_head.to(tl.int64) * queries + query
        log = tl.load(logs + place, mask=query < queries, other=float("inf"))
        delta = tl.load(deltas + place, mask=query < queries, other=0.0)
        of_q = load_block(q, sample, head, query, d, queries, channels, WIDE)
        of_gradient = load_block(gradient, sample, head, query, e, queries, values, WIDE)
        score = tl.dot(of_k, tl.trans(of_q), input_precision=PRECISION) * (scale * LOG2E)
        weight = tl.exp2(score - log[None, :])
        acc_v = tl.dot(weight.to(of_q.dtype), of_gradient, acc_v, input_precision=PRECISION)
        slope = tl.dot(of_v, tl.trans(of_gradient), input_precision=PRECISION)
        change = weight * (slope - delta[None, :])
        acc_k = tl.dot(change.to(of_q.dtype), of_q, acc_k, input_precision=PRECISION)
    address, exists = block_of(to_k, sample, head, key, d, keys, channels, WIDE)
    tl.store(address, (acc_k * scale).to(to_k.pointer.dtype.element_ty), mask=exists)
    address, exists = block_of(to_v, sample, head, key, e, keys, values, WIDE)
    tl.store(address, acc_v.to(to_v.pointer.dtype.element_ty), mask=exists)


class _Sides(NamedTuple):
    """Tokens that a program keeps, and those that it meets at a time; its threads."""

    kept: int
    met: int
    threads: int


_HALF = {
    64: _Sides(64, 32, 128),
    128: _Sides(64, 32, 128),
    256: _Sides(64, 16, 256),
    512: _Sides(16, 16, 256),
}
_FLOAT32 = {64: _Sides(32, 32, 128), 128: _Sides(16, 16, 256)}


def attention_gradient(
    to: tuple[Tensor, Tensor, Tensor],
    gradient: Tensor,
    out: Tensor,
    logs: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
) -> None:
    """Fill `to`, the gradients of q, k and v, from that of `out`, which the forward made with `logs`."""
    if 0 in q.shape:
        for each in to:
            each.zero_()
        return
    widest = max(64, side(q.shape[3]), side(v.shape[3]))
    sides = (_FLOAT32 if q.dtype == torch.float32 else _HALF)[widest]
    queries, keys = side(q.shape[2]), side(k.shape[2])
    by_query = Blocks(min(sides.kept, queries), min(sides.met, keys), sides.threads, 1)
    kept = sides.kept if widest <= 128 else max(16, sides.kept // 2)  # of two gradients, all in registers
    by_key = Blocks(min(sides.met, queries), min(kept, keys), sides.threads, 1)
    deltas = torch.empty_like(logs)
    given, of_heads = (heads_of(q), heads_of(k), heads_of(v)), q.shape[0] * q.shape[1]
    numbers = {"scale": scale, "LOG2E": LOG2E}
    query_gradient_kernel[(of_heads * triton.cdiv(q.shape[2], by_query.queries),)](
        heads_of(to[0]), deltas, heads_of(gradient), heads_of(out), logs, *given, **numbers,
        **arguments(q, k, v, by_query, gradient, out, *to),
    )  # fmt: skip
    key_gradient_kernel[(of_heads * triton.cdiv(k.shape[2], by_key.keys),)](
        heads_of(to[1]), heads_of(to[2]), deltas, heads_of(gradient), logs, *given, **numbers,
        **arguments(q, k, v, by_key, gradient, out, *to),
    )  # fmt: skip
