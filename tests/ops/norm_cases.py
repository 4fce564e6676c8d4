"""Cases of `norm_stats` and `norm_act` that the GPU's kernels are held against, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act.reference import channel_stats
from genfuse_kernels.conv_norm_act.settings import Activation, Settings
from genfuse_kernels.norm_act import cases, reference
from genfuse_kernels.norm_act.cases import random_call
from genfuse_kernels.norm_stats.cases import allowed as stats_allowed
from genfuse_kernels.norm_stats.cases import random_image
from ops.cpu_cases import LAYOUTS, laid_out, untouched_elsewhere

__all__ = [
    "check_call",
    "check_extremes",
    "check_stats",
    "long_row",
    "measured",
    "random_call",
    "random_image",
]

Kernel = Callable[..., None]


def measured(norm_stats: Kernel, x: Tensor) -> Tensor:
    """By the kernel, into memory full of NaN."""
    stats = torch.full((*x.shape[:2], 2), math.nan)
    norm_stats(stats, x)
    return stats


def check_stats(norm_stats: Kernel, x: Tensor) -> None:
    got, want = measured(norm_stats, x), channel_stats(x.double())
    assert ((got - want).abs() <= stats_allowed(want, x.shape[2] * x.shape[3])).all()


def long_row(first: float, channels_last: bool, length: int = 1029) -> Tensor:
    """(2, 3, 1, length), with a first pixel that may be far off."""
    x = torch.relu(torch.randn(2, 3, 1, length))
    x[..., 0] = first
    return x.to(memory_format=torch.channels_last) if channels_last else x


def check_call(
    norm_act: Kernel,
    x: Tensor,
    s: Settings,
    tensors: dict[str, Tensor | None],
    rng: np.random.Generator,
    measures: bool = True,
) -> None:
    """Output and, where it measures, statistics against the reference's; nothing is written elsewhere."""
    wide = {name: t if t is None or not t.is_floating_point() else t.double() for name, t in tensors.items()}
    want = reference.norm_act(x.double(), s, **wide)
    out = laid_out(torch.full(want.shape, math.nan, dtype=x.dtype), LAYOUTS[rng.integers(len(LAYOUTS))])
    stats = torch.full((*x.shape[:2], 2), math.nan)
    norm_act(out, stats if measures else None, x, s, **tensors)
    assert untouched_elsewhere(out)
    allowed = cases.allowed(x, s, wide, want)
    assert ((out.double() - want).abs() <= allowed).all()
    if measures:
        assert torch.allclose(stats.double(), channel_stats(want), rtol=1e-3, atol=1e-3)


def check_extremes(norm_act: Kernel, activation: Activation) -> None:
    """NaN stays NaN, no finite value becomes it, and no infinity a number that PyTorch's isn't."""
    finite = [0.0, -0.0, 1e-30, -1e-41, 90.0, -90.0, 3e38, -3e38]
    x = torch.tensor([*finite, math.inf, -math.inf, math.nan]).reshape(1, 1, 1, -1)
    s = Settings(activation=activation, negative_slope=0.2)
    got = torch.full_like(x, 7.0)
    norm_act(got, None, x, s)
    want = reference.norm_act(x.double(), s).float()
    count = len(finite)
    assert torch.allclose(got[..., :count], want[..., :count], rtol=1e-6, atol=4e-7)
    assert (got[..., count:].isfinite() <= want[..., count:].isfinite()).all() and got[..., -1].isnan()
