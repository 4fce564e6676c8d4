"""`conv_norm_act` in CUDA, emulated, against its float64 reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act import cuda_plan
from genfuse_kernels.conv_norm_act.cuda_impl import conv_norm_act
from ops.conv_cases import IMAGE_LAYOUTS, Case, allowed_error, check_result, make_case, random_case, rounding
from ops.cpu_cases import laid_out, untouched_elsewhere
from triton_proof.seeds import rotating

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

PRODUCTS = {"kFused": torch.float32, "kOneProduct": "tf32", "kThreeProducts": "tf32x3"}
"""What `spec.tolerance` calls the kernel's ways to multiply float32."""


def run(case: Case, shape: torch.Size, layout: str) -> tuple[Tensor, Tensor]:
    """Output and statistics, in memory that was NaN before."""
    out = laid_out(torch.full(shape, math.nan, dtype=case.x.dtype), layout)
    stats = torch.full((*shape[:2], 2), math.nan)
    conv_norm_act(out, stats, case.x, case.weight, case.bias, case.settings, **case.tensors)  # type: ignore[arg-type]
    assert untouched_elsewhere(out)
    return out, stats


def check(case: Case, layout: str = "contiguous") -> None:
    want = case.double().reference()
    got, stats = run(case, want.shape, layout)
    precision = cuda_plan.precision_of(case.x.dtype, case.settings.accuracy)
    product = case.x.dtype if case.x.dtype != torch.float32 else PRODUCTS[precision]
    allowed = allowed_error(case, product=product) + rounding(case, want)
    if case.settings.out_activation != "none":
        allowed = allowed + 4e-7
    check_result(case, want, got, stats, allowed)


def random_unit(rng: np.random.Generator, dtype: torch.dtype) -> Case:
    """A random case of what the kernel takes."""
    s = random_case(rng, dtype, ("3x3", "any", "transposed")).settings
    kernel = (3, 3) if rng.random() < 0.4 else tuple(int(k) for k in rng.integers(1, 6, 2))
    inputs, outputs = (int(count) for count in rng.choice([16, 17, 24, 40, 67, 72], 2))
    channels = inputs * s.groups
    norm = s.norm if s.norm not in ("layer_pixel", "rms_pixel") else "group"
    s = s._replace(dropout=0.0, pool=(1, 1), norm=norm, num_groups=s.groups if channels % 8 else 8)
    first, second = (channels, outputs) if s.transposed else (outputs * s.groups, inputs)
    size = (int(rng.integers(2, 19)), int(rng.integers(2, 19)))
    return make_case(rng, dtype, s, int(rng.integers(1, 4)), channels, (first, second, *kernel), size)


@pytest.mark.parametrize("seed", rotating(6, 240))
def test_random_units(seed: int) -> None:
    rng = np.random.default_rng([61, seed])
    case = random_unit(rng, DTYPES[seed % 3])
    assert cuda_plan.limit(case.weight.shape, case.settings) is None
    check(case, IMAGE_LAYOUTS[seed // 3 % len(IMAGE_LAYOUTS)])
