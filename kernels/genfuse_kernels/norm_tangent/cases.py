"""Sets that `norm_tangent` is held to its definition on."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short
from genfuse_kernels.norm_tangent import reference, spec

EPS = 1e-3

SIZES: dict[str, tuple[int, int, tuple[int, int] | None]] = {
    "one value": (3, 1, (1, 1)),
    "plain": (5, 77, None),
    "one weight": (4, 130, (1, 1)),
    "instance norm": (12, 49, (4, 1)),
    "group norm": (6, 5 * 33, (2, 5)),
    "groups of single pixels": (6, 5, (3, 5)),
    "layer norm": (4, 1030, (1, 1030)),
    "rows of weights, one a column": (6, 19, (3, 19)),
    "large": (3, 70_000, (1, 7)),
    "no sets": (0, 8, (2, 4)),
}


def sets(size: str, offset: float = 0.0, scale: float = 1.0) -> tuple[list[Tensor | None], Tensor]:
    """x, tangent and weight; and a gradient."""
    rows, columns, weight = SIZES[size]
    torch.manual_seed(7)
    x, tangent, gradient = (torch.randn(rows, columns) * scale for _ in range(3))
    return [x + offset, tangent, None if weight is None else torch.randn(weight)], gradient


def moved(x: Tensor, tangent: Tensor) -> Tensor:
    """Sums of the magnitudes of what the result is added up from, before the weight, in float64."""
    centred = x - x.mean(1, keepdim=True)
    r = torch.rsqrt(centred.square().mean(1, keepdim=True) + EPS)
    normal, t = centred.abs() * r, tangent.abs()
    # what x is off by before anything is computed of it
    rounding = 1 + x.abs().amax(1, keepdim=True) * r
    return r * (t + t.mean(1, keepdim=True) + normal * (normal * t).mean(1, keepdim=True)) * rounding


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """Sets in turn, away from zero every other time."""
    size = list(SIZES)[seed % len(SIZES)]
    (x, tangent, weight), _ = sets(size, offset=3.0 if seed % 2 else 0.0)
    assert x is not None and tangent is not None
    x, tangent = x.to(dtype), tangent.to(dtype)
    weight = None if weight is None else weight.to(dtype)
    of_weight = cases.double(weight)
    want = reference.norm_tangent(x.double(), tangent.double(), of_weight, EPS)
    bound = moved(x.double(), tangent.double()) if x.shape[0] else want
    bound = bound if of_weight is None else reference.weighted(bound, of_weight.abs())
    out = output("out", want, spec.tolerance(dtype) * bound, dtype)
    arguments = {"out": out.tensor, "x": x, "tangent": tangent, "weight": weight, "eps": EPS}
    return cases.Case(f"{size} {short(dtype)}", arguments, [out])
