"""Units that the CUDA convolution takes, and what it may be off by."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act import cuda_plan
from genfuse_kernels.conv_norm_act.cuda_gradient import conv_norm_act_gradient
from genfuse_kernels.conv_norm_act.cuda_weight_plan import weight_limit
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, convolved_size, kernel_size
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
    """A random case of what the kernel and its gradients take."""
    while True:
        case = _drawn(rng, dtype)
        if _is_taken(case):
            return case


def _is_taken(case: Case) -> bool:
    """Of strides and dilations together some read more than a block has room for."""
    of, s, size = case.weight.shape, case.settings, (case.x.shape[2], case.x.shape[3])
    made = convolved_size(s, kernel_size(of), size)
    dense = size if s.transposed else made
    return not any(
        (cuda_plan.limit(of, s, made), cuda_plan.back_limit(of, s, size), weight_limit(of, s, dense))
    )


def _drawn(rng: np.random.Generator, dtype: torch.dtype) -> Case:
    s = random_case(rng, dtype, ("3x3", "any", "transposed")).settings
    kernel = (3, 3) if rng.random() < 0.4 else tuple(int(k) for k in rng.integers(1, 6, 2))
    inputs, outputs = (int(count) for count in rng.choice([16, 17, 24, 40], 2))
    channels = inputs * s.groups
    norm = s.norm if s.norm not in ("layer_pixel", "rms_pixel") else "group"
    s = s._replace(dropout=0.0, pool=(1, 1), norm=norm, num_groups=s.groups if channels % 8 else 8)
    first, second = (channels, outputs) if s.transposed else (outputs * s.groups, inputs)
    size = (int(rng.integers(2, 19)), int(rng.integers(2, 19)))
    return make_case(rng, dtype, s, int(rng.integers(1, 4)), channels, (first, second, *kernel), size)


_OF_SPACE = [norm for norm in NORMS if not norm.endswith("pixel")]


def leaves_of(case: Case) -> dict[str, Tensor]:
    """What has a gradient, by name."""
    named = {"x": case.x, "weight": case.weight, "bias": case.bias, **case.tensors}
    return {
        name: tensor
        for name, tensor in named.items()
        if tensor is not None and tensor.is_floating_point() and not name.startswith("running")
    }


def of_unit(case: Case, gradient: Tensor, needs: Collection[str]) -> dict[str, Tensor]:
    tensors: Any = case.tensors
    options: Any = {"through_stats": True, "needs": needs}
    return conv_norm_act_gradient(gradient, case.x, case.weight, case.settings, tensors, **options)


def check_gradients(seed: int, device: str = "cpu") -> None:
    """Every input's of a random float32 unit, by each norm and activation in turn, against autograd's in float64."""
    rng = np.random.default_rng([65, seed])
    case = random_unit(rng, torch.float32)
    case.settings = case.settings._replace(
        out_activation="none",
        norm=_OF_SPACE[seed % len(_OF_SPACE)],
        activation=ACTIVATIONS[seed // 2 % len(ACTIVATIONS)],
        accuracy=(None, "exact")[seed % 2],  # type: ignore[arg-type]
    )
    wide = leaves_of(double := case.double())
    for leaf in wide.values():
        leaf.requires_grad_()
    y = double.reference()
    gradient = torch.from_numpy(rng.standard_normal(tuple(y.shape)))
    found = torch.autograd.grad(y, list(wide.values()), gradient, allow_unused=True)
    want = {name: value for name, value in zip(wide, found, strict=True) if value is not None}
    there: Any = {name: None if t is None else t.to(device) for name, t in case.tensors.items()}  # type: ignore[attr-defined]
    on_device = Case(case.settings, case.x.to(device), case.weight.to(device), None, there)
    got = of_unit(on_device, gradient.float().to(device), list(want))
    assert got.keys() == want.keys()
    for name, value in want.items():
        error = (got[name].cpu().double() - value).abs().max()
        assert got[name].shape == value.shape and got[name].dtype == torch.float32
        assert error <= 2e-5 * value.abs().max().clamp(min=1e-3), name
