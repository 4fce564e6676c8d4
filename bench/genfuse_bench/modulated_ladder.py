"""The ladder of `modulated_conv2d`: versions of StyleGAN2's layer, from weights of each sample's own to genfuse's.

A version is a Python file with `modulated_conv2d(x, weight, styles, noise, bias)`: the 3×3 convolution of x
(N, C, H, H) by weight (C, C, 3, 3), modulated by styles (N, C) and demodulated, plus noise (N, 1, H, H) and bias (C,),
through LeakyReLU(0.2)·√2. It is held against the definition in float64 before it is timed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import genfuse
from genfuse_bench import python_ladder
from genfuse_bench.lab import EFFORT, LabRow
from genfuse_bench.largest_error import largest_error
from genfuse_bench.timing import Effort
from genfuse_kernels.modulated_conv2d.reference import modulated_conv2d as reference

OP = "modulated_conv2d"
SHAPES = ((8, 128, 32, 32), (8, 256, 8, 8))
_GROWTH = 8.0
"""Times the error of the definition in float32: Winograd's transforms round besides."""


def defined(x: Tensor, weight: Tensor, styles: Tensor, noise: Tensor, bias: Tensor) -> Tensor:
    """The layer, step by step."""
    y = reference(x, weight, styles, padding=1) + noise + bias[:, None, None]
    return F.leaky_relu(y, 0.2) * math.sqrt(2)


def _ours(x: Tensor, weight: Tensor, styles: Tensor, noise: Tensor, bias: Tensor) -> Tensor:
    return genfuse.ops.modulated_conv2d(
        x,
        weight,
        styles,
        padding=1,
        noise=noise,
        bias=bias,
        activation="leaky_relu",
        negative_slope=0.2,
        gain=math.sqrt(2),
    )


def layer(shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    """x, weight, styles, noise and bias of an image (N, C, H, W)."""
    torch.manual_seed(0)
    n, channels, height, width = shape
    weight = torch.randn(channels, channels, 3, 3) / math.sqrt(9 * channels)
    noise = torch.randn(n, 1, height, width)
    return torch.randn(shape), weight, torch.randn(n, channels) + 1, noise, torch.randn(channels)


def race(
    steps: Sequence[Path], shapes: Sequence[tuple[int, ...]] = SHAPES, effort: Effort = EFFORT
) -> list[LabRow]:
    """Each version, and genfuse's, on each shape. ValueError for one that is no image's."""
    versions = {
        step.name: python_ladder.read_version(step, OP, "x, weight, styles, noise, bias") for step in steps
    }
    for shape in shapes:
        if len(shape) != 4 or min(shape) < 1:
            raise ValueError(f"shape is {shape}, expected (N, C, H, W)")
    rows: list[LabRow] = []
    for shape in shapes:
        given = layer(shape)
        exact = [defined(*(each.double() for each in given))]
        competitors = versions | {"genfuse cpu": _ours}
        runs = {name: partial(version, *given) for name, version in competitors.items()}
        with torch.no_grad():
            errors = {name: largest_error([run()], exact) for name, run in runs.items()}
            bound = _GROWTH * largest_error([defined(*given)], exact)
            rows += python_ladder.rows(OP, "a style layer", shape, runs, versions, errors, bound, effort)
    return rows
