"""Philox4x32-10 and Box–Muller for Triton kernels; `philox_normal/spec.py` says which counter gives what."""

from __future__ import annotations

import triton
import triton.language as tl

# Minimax polynomials on the reduced ranges below, highest power first; relative error under a tenth of an ulp
# of the precision that each is named after.
_SIN_FLOAT32 = tl.constexpr(
    (0.00015820630355647733, -0.004681266256726245, 0.07969258272563062, -0.6459640961467954, 1.5707963267881)
)
_COS_FLOAT32 = tl.constexpr(
    (0.0009036280663802505, -0.02086006950026408, 0.2536692036551135, -1.2337005406331623, 0.9999999999524894)
)
_LOG_FLOAT32 = tl.constexpr(
    (0.23330467216303835, 0.28550820815960665, 0.40000121839806124, 0.6666666655449709)
)
_SIN_FLOAT64 = tl.constexpr(
    (
        -6.627624938992472e-10,
        5.691927850489633e-08,
        -3.598842717144858e-06,
        0.0001604411847266723,
        -0.004681754135314827,
        0.07969262624616692,
        -0.6459640975062463,
        1.5707963267948966,
    )
)
_COS_FLOAT64 = tl.constexpr(
    (
        6.506654235424698e-11,
        -6.386325463386356e-09,
        4.7108740775364384e-07,
        -2.5202042362733303e-05,
        0.0009192602748385331,
        -0.020863480763352916,
        0.25366950790104803,
        -1.2337005501361697,
        1.0,
    )
)
_LOG_FLOAT64 = tl.constexpr(
    (
        0.13086626147840102,
        0.13268773138656886,
        0.15386239702814658,
        0.18181795640132906,
        0.22222222391713917,
        0.28571428570803614,
        0.4000000000000088,
        0.6666666666666666,
    )
)
_LN2 = tl.constexpr(0.6931471805599453)
_SQRT_HALF_BITS = tl.constexpr(0x3F3504F3)


@triton.jit
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Ten rounds on uint32 counter words and key halves (Salmon et al., SC11). Returns four uint32 words."""
    for _ in tl.static_range(10):
        previous0, previous2 = c0, c2
        c0 = tl.umulhi(previous2, 0xCD9E8D57) ^ c1 ^ k0
        c2 = tl.umulhi(previous0, 0xD2511F53) ^ c3 ^ k1
        c1 = tl.mul(previous2, 0xCD9E8D57, sanitize_overflow=False)
        c3 = tl.mul(previous0, 0xD2511F53, sanitize_overflow=False)
        k0 = tl.add(k0, 0x9E3779B9, sanitize_overflow=False)
        k1 = tl.add(k1, 0xBB67AE85, sanitize_overflow=False)
    return c0, c1, c2, c3


@triton.jit
def philox_words(seed, row, stream, block):
    """The four uint32 words of a sample's counter blocks; `seed` and `row` scalar int64, `block` (Q,)."""
    wide = block.to(tl.int64)
    c0 = (wide & 0xFFFFFFFF).to(tl.uint32)
    c1 = (wide >> 32).to(tl.uint32)
    zero = tl.zeros_like(c0)
    k0 = (seed & 0xFFFFFFFF).to(tl.uint32)
    k1 = ((seed >> 32) & 0xFFFFFFFF).to(tl.uint32)
    return philox4x32(c0, c1, zero + row.to(tl.uint32), zero + stream.to(tl.uint32), zero + k0, zero + k1)


@triton.jit
def _polynomial(z, coefficients: tl.constexpr, DEGREE: tl.constexpr):
    value = tl.full(z.shape, coefficients[0], z.dtype)
    for i in tl.static_range(DEGREE):
        value = value * z + coefficients[i + 1]
    return value


@triton.jit
def _log_uniform(word, COMPUTE: tl.constexpr):
    """ln u of u = ((word >> 9) + ½)·2⁻²³, to a few ulp relative even next to u = 1.

    u is a 24-bit fraction, exact in float32; split as 2ᵉ·m with m in [√½, √2), ln m = 2·atanh((m−1)/(m+1)).
    `tl.log` is `lg2.approx` in float32, whose error is absolute: useless next to 1.
    """
    odd = ((word >> 9) * 2 + 1).to(tl.int32)
    bits = (odd.to(tl.float32) * 5.9604644775390625e-08).to(tl.int32, bitcast=True) - _SQRT_HALF_BITS
    exponent = (bits >> 23).to(COMPUTE)
    m = ((bits & 0x7FFFFF) + _SQRT_HALF_BITS).to(tl.float32, bitcast=True).to(COMPUTE)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    tail = _polynomial(z, _LOG_FLOAT64, 7) if tl.float64 == COMPUTE else _polynomial(z, _LOG_FLOAT32, 3)
    return exponent * _LN2 + (2.0 * s + s * z * tail)


@triton.jit
def _cos_sin_turns(word, COMPUTE: tl.constexpr):
    """cos 2πu and sin 2πu of the same u, reduced to an eighth of a turn in integers, so without rounding.

    `tl.cos` and `tl.sin` carry a slow path for huge arguments that spills to local memory.
    """
    odd = ((word >> 9) * 2 + 1).to(tl.int32)
    quarter = (odd + 0x200000) >> 22
    f = (odd - (quarter << 22)).to(COMPUTE) * 2.384185791015625e-07
    z = f * f
    if COMPUTE == tl.float64:  # noqa: SIM300
        cos = _polynomial(z, _COS_FLOAT64, 8)
        sin = f * _polynomial(z, _SIN_FLOAT64, 7)
    else:
        cos = _polynomial(z, _COS_FLOAT32, 4)
        sin = f * _polynomial(z, _SIN_FLOAT32, 4)
    swap = (quarter & 1) != 0
    turned_cos = tl.where(swap, sin, cos)
    turned_sin = tl.where(swap, cos, sin)
    turned_cos = tl.where(((quarter + 1) & 2) != 0, -turned_cos, turned_cos)
    turned_sin = tl.where((quarter & 2) != 0, -turned_sin, turned_sin)
    return turned_cos, turned_sin


@triton.jit
def box_muller(word0, word1, COMPUTE: tl.constexpr):
    """Two normals from two uint32 words."""
    radius = tl.sqrt(-2.0 * _log_uniform(word0, COMPUTE))
    cos, sin = _cos_sin_turns(word1, COMPUTE)
    return radius * cos, radius * sin


@triton.jit
def normal_quads(seed, row, stream, quad, COMPUTE: tl.constexpr):
    """Normals of logical elements 4·quad … 4·quad + 3, interleaved: (Q,) → (4Q,), each block drawn once."""
    word0, word1, word2, word3 = philox_words(seed, row, stream, quad)
    n0, n1 = box_muller(word0, word1, COMPUTE)
    n2, n3 = box_muller(word2, word3, COMPUTE)
    return tl.interleave(tl.interleave(n0, n2), tl.interleave(n1, n3))
