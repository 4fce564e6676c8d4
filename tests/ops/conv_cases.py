"""Units of `conv_norm_act.cases` on the CPU kernels, each by the kernel that it runs on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.conv_norm_act import cases, reference
from genfuse_kernels.conv_norm_act.cases import (
    IMAGE_LAYOUTS,
    make_case,
    pair_of_twos,
    random_case,
    random_sequence,
    rounding,
    stats_allowed,
)
from genfuse_kernels.conv_norm_act.cases import Unit as Case
from genfuse_kernels.conv_norm_act.cpu_impl import BY_RULE, Way, conv_norm_act, convolution
from ops.cpu_cases import laid_out, untouched_elsewhere

__all__ = [
    "IMAGE_LAYOUTS",
    "Case",
    "allowed_error",
    "check",
    "check_result",
    "convolution_of",
    "make_case",
    "pair_of_twos",
    "random_case",
    "random_sequence",
    "rounding",
    "run",
    "uses_winograd",
]


def allowed_error(case: Case, kernel: int = 0, product: torch.dtype | str | None = None) -> Tensor:
    """`cases.allowed_error`.

    kernel   which of the convolution's, as `cpu_impl.Way` counts them
    product  what factors are rounded to on another backend, where none is Winograd's
    """
    tile = 0
    if product is None:
        conv = convolution_of(case, kernel)
        tile, product = conv.tile, {"float32": torch.float32, "bfloat16": torch.bfloat16}[conv.product]
    return cases.allowed_error(case, tile, product)


def uses_winograd(case: Case, kernel: int = 0) -> bool:
    return convolution_of(case, kernel).tile > 0


def convolution_of(case: Case, kernel: int = 0) -> _cpu.Conv:
    size = (case.x.shape[2], case.x.shape[3])
    return convolution(
        tuple(case.weight.shape),
        case.settings,
        case.x.dtype,
        size,
        _cpu.isa(),
        case.tensors.get("residual_weight") is not None,
        kernel,
    )


def run(case: Case, like: Tensor, layout: str = "contiguous", way: Way = BY_RULE) -> tuple[Tensor, Tensor]:
    """The kernel's output and statistics, in memory that was NaN before."""
    out = laid_out(torch.full(like.shape, math.nan, dtype=case.x.dtype), layout)
    stats = torch.full((*like.shape[:2], 2), math.nan)
    conv_norm_act(out, stats, case.x, case.weight, case.bias, case.settings, way=way, **case.tensors)
    assert untouched_elsewhere(out)
    return out, stats


def check(case: Case, layout: str = "contiguous", way: Way = BY_RULE) -> None:
    want = case.double().reference()
    got, stats = run(case, want, layout, way)
    allowed = allowed_error(case, way.kernel) + rounding(case, want)
    if case.settings.out_activation != "none":  # common/activation.h: absolute, where the sum is nearly none
        allowed = allowed + 3e-7
    check_result(case, want, got, stats, allowed)


def check_result(case: Case, want: Tensor, got: Tensor, stats: Tensor, allowed: Tensor) -> None:
    """An output within what each of its values may be off by, and statistics within what follows for them."""
    error = (got.double() - want).abs()
    assert (error <= allowed).all(), (
        f"{(error / allowed).nan_to_num().max():.2f} times the error; {case.settings}"
    )
    expected = reference.channel_stats(want)
    assert ((stats - expected).abs() <= stats_allowed(want, allowed)).all()
