"""`timestep_embedding` in Triton, with sines of its own.

Triton's `sin` and `cos` reduce large angles in local memory. Here an angle is reduced by multiples of π/2 in three
parts (Cody & Waite 1980), of which the first has 33 bits, so that its multiples are exact up to 2¹⁸ turns; the
polynomials on ±π/4 are those of FreeBSD's msun (k_sin.c, k_cos.c), below 1 ulp.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 256

_PER_QUARTER = tl.constexpr(2 / math.pi)
_QUARTER_HIGH = tl.constexpr(1.57079632673412561417)
_QUARTER_MIDDLE = tl.constexpr(6.07710050630396597660e-11)
_QUARTER_LOW = tl.constexpr(2.02226624879595063154e-21)

_FARTHEST = tl.constexpr(2.0**50)
"""Angles beyond count as 0: a float64 there is known to a quarter of a radian at best."""


@triton.jit
def sine_and_cosine(angle):
    """Both of an angle in float64, NaN where it is not finite."""
    angle = tl.where(tl.abs(angle) > _FARTHEST, angle - angle, angle)  # inf − inf is NaN
    quarter = tl.floor(angle * _PER_QUARTER + 0.5)
    x = ((angle - quarter * _QUARTER_HIGH) - quarter * _QUARTER_MIDDLE) - quarter * _QUARTER_LOW
    z = x * x
    of_sine = 2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)
    of_sine = 8.33333333332248946124e-03 + z * (-1.98412698298579493134e-04 + z * of_sine)
    sine = x + x * z * (-1.66666666666666324348e-01 + z * of_sine)
    of_cosine = -2.75573143513906633035e-07 + z * (
        2.08757232129817482790e-09 - z * 1.13596475577881948265e-11
    )
    of_cosine = -1.38888888888741095749e-03 + z * (2.48015872894767294178e-05 + z * of_cosine)
    cosine = 1.0 - (0.5 * z - z * z * (4.16666666666666019037e-02 + z * of_cosine))
    turn = quarter - 4.0 * tl.floor(quarter * 0.25)
    odd = (turn == 1.0) | (turn == 3.0)
    of_turn = tl.where(odd, cosine, sine)
    beside = tl.where(odd, sine, cosine)
    sine = tl.where(turn >= 2.0, -of_turn, of_turn)
    cosine = tl.where((turn == 1.0) | (turn == 2.0), -beside, beside)
    return sine, cosine


@triton.jit
def timestep_embedding_kernel(
    out, t, count, channels, scale: tl.float64, rate: tl.float64, width: tl.float64, FLIP: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """A block of the result's elements; frequency i is exp(rate·i/width)."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = place < count
    channel = (place % channels).to(tl.int32)
    half = channels // 2
    time = tl.load(t + place // channels, mask=exists, other=0.0)
    frequency = tl.exp((channel % half).to(tl.float64) / width * rate)
    sine, cosine = sine_and_cosine(time.to(tl.float64) * scale * frequency)
    first, second = (cosine, sine) if FLIP else (sine, cosine)
    value = tl.where(channel < half, first, tl.where(channel < 2 * half, second, 0.0))
    tl.store(out + place, value.to(out.dtype.element_ty), mask=exists)


def timestep_embedding(
    out: Tensor,
    t: Tensor,
    flip_sin_to_cos: bool,
    downscale_freq_shift: float,
    scale: float,
    max_period: float,
) -> None:
    """Fill `out`; see `spec`."""
    if out.numel() == 0:
        return
    channels = out.shape[1]
    timestep_embedding_kernel[(triton.cdiv(out.numel(), _BLOCK),)](
        out, t.contiguous(), out.numel(), channels, scale, -math.log(max_period),
        channels // 2 - downscale_freq_shift, FLIP=flip_sin_to_cos, BLOCK=_BLOCK, enable_fp_fusion=True,
    )  # fmt: skip
