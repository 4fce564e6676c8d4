"""Philox's words for one number a row, by numpy on the host.

PyTorch has no unsigned product of 64 bits, and each of its calls costs more than the numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genfuse_kernels.philox_normal.reference import MULTIPLIERS, ROUNDS, WEYL

Words = NDArray[np.uint64]
"""of 32 bits each"""

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def first_words(seed: int, rows: NDArray[np.int64], stream: int) -> Words:
    """The first of each row's block 0, (N,), as `reference.philox_words` has it; seed and rows as there, one seed."""
    row = rows.astype(np.uint64)
    zero = np.zeros_like(row)
    c0, c1, c2, c3 = zero, zero, row, zero + np.uint64(stream)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
    by0, by1 = (np.uint64(each) for each in MULTIPLIERS)
    for _ in range(ROUNDS):
        first, second = c0 * by0, c2 * by1
        c0, c1 = (second >> _HALF) ^ c1 ^ np.uint64(k0), second & _LOW
        c2, c3 = (first >> _HALF) ^ c3 ^ np.uint64(k1), first & _LOW
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return c0
