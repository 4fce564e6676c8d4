"""Where a convolution reads, an axis at a time: every kind is one form.

The pixel `made` of the output reads with tap t

    source pixel  made·stride + start + t·step          weight  first + t·tap_step

and is the output's pixel phase + made·phase_step. A transposed convolution is one such for every phase of its stride
(sub-pixel convolution, Shi et al. 2016, arXiv:1609.05158), and so is the gradient of a convolution's input.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from genfuse_kernels.conv_norm_act.settings import Pair, Settings


class Axis(NamedTuple):
    """One axis of one phase."""

    made: int
    stride: int
    start: int
    taps: int
    step: int
    first: int
    tap_step: int
    phase: int
    phase_step: int


def forward_axis(size: int, stride: int, padding: int, taps: int, dilation: int) -> list[Axis]:
    """Of a convolution that makes `size` pixels."""
    return [Axis(size, stride, -padding, taps, dilation, 0, 1, 0, 1)]


def transposed_axes(size: int, stride: int, padding: int, taps: int, dilation: int) -> list[Axis]:
    """The phases of a transposed convolution, or of a convolution's gradient, that makes `size` pixels."""
    common = math.gcd(stride, dilation)
    found = []
    for phase in range(min(stride, size)):
        # tap r reads pixel (phase + padding − r·dilation)/stride beyond `made`, where that is whole
        reached = [r for r in range(taps) if (phase + padding - r * dilation) % stride == 0]
        first = reached[0] if reached else 0
        start = (phase + padding - first * dilation) // stride
        made = (size - phase + stride - 1) // stride
        tap_step = stride // common
        found.append(Axis(made, 1, start, len(reached), -dilation // common, first, tap_step, phase, stride))
    return found


def axes_of(s: Settings, kernel: Pair, made: Pair) -> tuple[list[Axis], list[Axis]]:
    """The phases of each axis of a unit's convolution."""
    of = transposed_axes if s.transposed else forward_axis
    rows, columns = (of(made[i], s.stride[i], s.padding[i], kernel[i], s.dilation[i]) for i in (0, 1))
    return rows, columns
