"""Units that the CUDA convolution takes, and what it may be off by."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act import cuda_plan
from ops.conv_cases import Case, allowed_error, check_result, make_case, random_case, rounding
from ops.cpu_cases import laid_out, untouched_elsewhere

Kernel = Callable[..., None]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

PRODUCTS = {"kFused": torch.float32, "kOneProduct": "tf32", "kThreeProducts": "tf32x3"}
"""What `spec.tolerance` calls the kernel's ways to multiply float32."""


def run(kernel: Kernel, case: Case, shape: torch.Size, layout: str) -> tuple[Tensor, Tensor]:
    """Output and statistics, in memory that was NaN before."""
    out = laid_out(torch.full(shape, math.nan, dtype=case.x.dtype), layout)
    stats = torch.full((*shape[:2], 2), math.nan)
    kernel(out, stats, case.x, case.weight, case.bias, case.settings, **case.tensors)  # type: ignore[arg-type]
    assert untouched_elsewhere(out)
    return out, stats


def check(kernel: Kernel, case: Case, layout: str = "contiguous") -> None:
    """Output and statistics within what the reference allows them."""
    want = case.double().reference()
    assert cuda_plan.limit(case.weight.shape, case.settings, (want.shape[2], want.shape[3])) is None
    got, stats = run(kernel, case, want.shape, layout)
    allowed = allowed_error(case, product=product_of(case)) + rounding(case, want)
    if case.settings.out_activation != "none":
        allowed = allowed + 4e-7
    check_result(case, want, got, stats, allowed)


def product_of(case: Case) -> torch.dtype | str:
    """What the factors of a case's products are rounded to, as `spec.tolerance` calls it."""
    precision = cuda_plan.precision_of(case.x.dtype, case.settings.accuracy)
    return case.x.dtype if case.x.dtype != torch.float32 else PRODUCTS[precision]


def random_unit(rng: np.random.Generator, dtype: torch.dtype) -> Case:
    """A random case of what the kernel takes."""
    s = random_case(rng, dtype, ("3x3", "any", "transposed")).settings
    kernel = (3, 3) if rng.random() < 0.4 else tuple(int(k) for k in rng.integers(1, 6, 2))
    inputs, outputs = (int(count) for count in rng.choice([16, 17, 24, 40], 2))
    channels = inputs * s.groups
    norm = s.norm if s.norm not in ("layer_pixel", "rms_pixel") else "group"
    s = s._replace(dropout=0.0, pool=(1, 1), norm=norm, num_groups=s.groups if channels % 8 else 8)
    first, second = (channels, outputs) if s.transposed else (outputs * s.groups, inputs)
    size = (int(rng.integers(2, 19)), int(rng.integers(2, 19)))
    return make_case(rng, dtype, s, int(rng.integers(1, 4)), channels, (first, second, *kernel), size)
