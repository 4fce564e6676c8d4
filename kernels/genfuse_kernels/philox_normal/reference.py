"""`philox_normal` in plain PyTorch, float64 unless told otherwise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


def _mul_hi_lo(a: Tensor, multiplier: int) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a·multiplier; int64 has no unsigned 64-bit product, so by 16-bit halves."""
    low = (a & 0xFFFF) * multiplier
    high = (a >> 16) * multiplier + (low >> 16)
    return high >> 16, ((high & 0xFFFF) << 16) | (low & 0xFFFF)


def philox4x32(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]
) -> tuple[Tensor, ...]:
    """Philox4x32-10 on int64 tensors that hold 32-bit words (Salmon et al., SC11)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        hi0, lo0 = _mul_hi_lo(c0, MULTIPLIERS[0])
        hi1, lo1 = _mul_hi_lo(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = hi1 ^ c1 ^ k0, lo1, hi0 ^ c3 ^ k1, lo0
        k0, k1 = (k0 + WEYL[0]) & _MASK, (k1 + WEYL[1]) & _MASK
    return c0, c1, c2, c3


def philox_words(seeds: Tensor, numel: int, row: Tensor, stream: int) -> Tensor:
    """The 32-bit words behind `numel` elements of each sample: int64 (N, 4·ceil(numel/4))."""
    blocks = (numel + 3) // 4
    block = torch.arange(blocks, dtype=torch.int64, device=seeds.device).expand(seeds.shape[0], blocks)
    key = (seeds[:, None] & _MASK, (seeds[:, None] >> 32) & _MASK)
    counter = (block & _MASK, block >> 32, row[:, None].expand_as(block), torch.full_like(block, stream))
    return torch.stack(philox4x32(counter, key), dim=-1).reshape(seeds.shape[0], 4 * blocks)


def normals_from_words(words: Tensor) -> Tensor:
    """Box–Muller on pairs of words: (…, 2k) int64 → (…, 2k) float64 normals."""
    uniform = ((words >> 9).to(torch.float64) + 0.5) * 2.0**-23
    radius = torch.sqrt(-2.0 * torch.log(uniform[..., 0::2]))
    angle = 2.0 * math.pi * uniform[..., 1::2]
    return torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), dim=-1).flatten(-2)


def philox_normal(
    seeds: Tensor, shape: tuple[int, ...], row: int | Tensor, stream: int, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Normals of shape (N, *shape[1:]); see `spec`. Computed in float64: 2π·u in float32 alone errs by 4e-7."""
    numel = math.prod(shape[1:])
    rows = torch.as_tensor(row, dtype=torch.int64, device=seeds.device).expand(seeds.shape[0])
    normals = normals_from_words(philox_words(seeds, numel, rows, stream))
    return normals[:, :numel].reshape(shape).to(dtype)
