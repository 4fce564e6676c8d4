"""`attention` in Triton: a block of queries meets the keys a block at a time, and scores stay in registers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.layout import is_wide
from genfuse_kernels.common.target import warps_of
from genfuse_kernels.conv_norm_act.triton_plan import precision_of

LOG2E = math.log2(math.e)


class Heads(NamedTuple):
    """(N, heads, tokens, channels) by its strides, any."""

    pointer: Tensor
    batch: int
    head: int
    token: int
    channel: int


def heads_of(tensor: Tensor) -> Heads:
    """As a kernel argument; 0 along axes of size 1, which keeps what is known of an address: its alignment."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return Heads(tensor, *(0 if size == 1 else stride for size, stride in sizes))


@triton.jit
def block_of(x, sample, head, token, channel, tokens, channels, WIDE: tl.constexpr):
    """Addresses of some tokens by all channels, and which of them exist."""
    if WIDE:
        token = token.to(tl.int64)
    place = (token * x.token)[:, None] + (channel * x.channel)[None, :]
    exists = (token < tokens)[:, None] & (channel < channels)[None, :]
    return x.pointer + sample * x.batch + head * x.head + place, exists


@triton.jit
def load_block(x, sample, head, token, channel, tokens, channels, WIDE: tl.constexpr):
    """Those of `block_of`, zeros beyond the tokens and channels."""
    address, exists = block_of(x, sample, head, token, channel, tokens, channels, WIDE)
    return tl.load(address, mask=exists, other=0.0)


@triton.jit(do_not_specialize=["scale"])
def attention_kernel(
    out, logs, q, k, v, heads, queries, keys, channels, values, scale,
    PRECISION: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A block of a head's queries.

    scale   times log₂e
    logs    (N·heads, queries) float32: log₂ of each query's sum of 2^score, which a backward pass goes by; or None
    """
    blocks = tl.cdiv(queries, BLOCK_Q)
    of_head = tl.program_id(0) // blocks
    sample, head = (of_head // heads).to(tl.int64), (of_head % heads).to(tl.int64)
    query = tl.program_id(0) % blocks * BLOCK_Q + tl.arange(0, BLOCK_Q)
    d, e = tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_E)
    of_q = load_block(q, sample, head, query, d, queries, channels, WIDE)
    largest = tl.full((BLOCK_Q,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    acc = tl.zeros((BLOCK_Q, BLOCK_E), tl.float32)
    for start in range(0, keys, BLOCK_K):
        key = start + tl.arange(0, BLOCK_K)
        of_k = load_block(k, sample, head, key, d, keys, channels, WIDE)
        score = tl.dot(of_q, tl.trans(of_k), input_precision=PRECISION) * scale
        score = tl.where((key < keys)[None, :], score, -float("inf"))
        grown = tl.maximum(largest, tl.max(score, 1))
        base = tl.where(grown == -float("inf"), 0.0, grown)
        weight = tl.exp2(score - base[:, None])
        factor = tl.exp2(largest - base)
        total = total * factor + tl.sum(weight, 1)
        of_v = load_block(v, sample, head, key, e, keys, values, WIDE)
        acc = tl.dot(weight.to(of_v.dtype), of_v, acc * factor[:, None], input_precision=PRECISION)
        largest = grown
    address, exists = block_of(out, sample, head, query, e, queries, values, WIDE)
    tl.store(address, (acc / total[:, None]).to(out.pointer.dtype.element_ty), mask=exists)
    if logs is not None:
        place = logs + of_head.to(tl.int64) * queries + query
        tl.store(place, largest + tl.log2(total), mask=query < queries)


class Blocks(NamedTuple):
    """Queries and keys of a program's tile, by the widest head and the dtype alone."""

    queries: int
    keys: int
    threads: int
    stages: int


_HALF = {
    64: Blocks(128, 64, 128, 3),
    128: Blocks(128, 64, 256, 2),
    256: Blocks(64, 32, 256, 2),
    512: Blocks(32, 16, 256, 1),
}
_FLOAT32 = {64: Blocks(32, 32, 128, 2), 128: Blocks(32, 16, 256, 2), 256: Blocks(16, 16, 256, 1)}


def side(count: int) -> int:
    """Of a tile that holds so many: a tensor core's smallest is 16."""
    return max(16, 1 << (count - 1).bit_length())


def blocks_for(q: Tensor, k: Tensor, v: Tensor) -> Blocks:
    """Tiles of the largest sides, no larger than the tokens."""
    widest = max(64, side(q.shape[3]), side(v.shape[3]))
    plan = (_FLOAT32 if q.dtype == torch.float32 else _HALF)[widest]
    queries, keys = min(plan.queries, side(q.shape[2])), min(plan.keys, side(k.shape[2]))
    return plan._replace(queries=queries, keys=keys)


def arguments(q: Tensor, k: Tensor, v: Tensor, plan: Blocks, *others: Tensor) -> dict[str, Any]:
    """What all kernels of a call share."""
    return {
        "heads": q.shape[1],
        "queries": q.shape[2],
        "keys": k.shape[2],
        "channels": q.shape[3],
        "values": v.shape[3],
        "PRECISION": precision_of(q.dtype, None),
        "BLOCK_Q": plan.queries,
        "BLOCK_K": plan.keys,
        "BLOCK_D": side(q.shape[3]),
        "BLOCK_E": side(v.shape[3]),
        "WIDE": is_wide(q, k, v, *others),
        "num_warps": warps_of(plan.threads),
        "num_stages": plan.stages,
        "enable_fp_fusion": True,
    }


def attention(
    out: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float, *, logs: Tensor | None = None
) -> None:
    """Fill `out`, and `logs` (N, heads, L) as `attention_kernel` has it; see `spec`."""
    if out.numel() == 0:
        return
    plan = blocks_for(q, k, v)
    attention_kernel[(q.shape[0] * q.shape[1] * triton.cdiv(q.shape[2], plan.queries),)](
        heads_of(out), logs, heads_of(q), heads_of(k), heads_of(v), scale=scale * LOG2E,
        **arguments(q, k, v, plan, out),
    )  # fmt: skip
