"""Generated calls of `norm_stats`: any layout, a mean far larger than the deviation every other time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short
from genfuse_kernels.common.guarded import LAYOUTS, laid_out
from genfuse_kernels.norm_stats import reference, spec


def random_image(seed: int, dtype: torch.dtype | None = None) -> Tensor:
    """Odd sizes, any layout; half of them have a mean far larger than the deviation."""
    rng = np.random.default_rng([7, seed])
    shape = tuple(int(rng.integers(1, high)) for high in (4, 80, 24, 24))
    mean = 1e4 if seed % 2 else 0.5
    if dtype is None:
        dtype = torch.float32 if seed % 2 else spec.DTYPES[seed // 2 % 3]
    elif dtype != torch.float32:
        mean = 0.5
    values = torch.from_numpy(rng.standard_normal(shape) + mean).to(dtype)
    return laid_out(values, LAYOUTS[rng.integers(len(LAYOUTS))])


def allowed(want: Tensor, pixels: int) -> Tensor:
    """Errors of mean and variance, as `want` (N, C, 2)."""
    size = want[..., 0].abs() + want[..., 1].sqrt()
    return spec.tolerance(pixels) * torch.stack([size, want[..., 1]], dim=2)


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """Odd sizes."""
    x = random_image(seed, dtype)
    want = reference.norm_stats(x.double())
    out = output("out", want, allowed(want, x.shape[2] * x.shape[3]), torch.float32)
    return cases.Case(f"{tuple(x.shape)} {short(dtype)}", {"out": out.tensor, "x": x}, [out], [x])
