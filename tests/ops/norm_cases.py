"""Cases of `norm_stats` and `norm_act` that the GPU's kernels are held against, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act.reference import channel_stats
from genfuse_kernels.norm_stats import spec as stats_spec
from ops.cpu_cases import LAYOUTS, laid_out

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

Kernel = Callable[..., None]


def measured(norm_stats: Kernel, x: Tensor) -> Tensor:
    """By the kernel, into memory full of NaN."""
    stats = torch.full((*x.shape[:2], 2), math.nan)
    norm_stats(stats, x)
    return stats


def check_stats(norm_stats: Kernel, x: Tensor) -> None:
    got, want = measured(norm_stats, x), channel_stats(x.double())
    allowed = stats_spec.tolerance(x.shape[2] * x.shape[3])
    size = want[..., 0].abs() + want[..., 1].sqrt()
    assert ((got[..., 0] - want[..., 0]).abs() <= allowed * size).all()
    assert ((got[..., 1] - want[..., 1]).abs() <= allowed * want[..., 1]).all()


def random_image(seed: int) -> Tensor:
    """Odd sizes, any layout; half of them have a mean far larger than the deviation."""
    rng = np.random.default_rng([7, seed])
    shape = tuple(int(rng.integers(1, high)) for high in (4, 80, 24, 24))
    mean = 1e4 if seed % 2 else 0.5
    dtype = torch.float32 if seed % 2 else DTYPES[seed // 2 % 3]
    values = torch.from_numpy(rng.standard_normal(shape) + mean).to(dtype)
    return laid_out(values, LAYOUTS[rng.integers(len(LAYOUTS))])


def long_row(first: float, channels_last: bool, length: int = 1029) -> Tensor:
    """(2, 3, 1, length), with a first pixel that may be far off."""
    x = torch.relu(torch.randn(2, 3, 1, length))
    x[..., 0] = first
    return x.to(memory_format=torch.channels_last) if channels_last else x
