"""Sets that `norm_tangent` is held to its definition on, by any backend: values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genfuse.dispatch import Backend
from genfuse.ops import norm_tangent
from genfuse.ops.norm_tangent import by_kernels
from genfuse_kernels.norm_tangent import cases, reference, spec
from genfuse_kernels.norm_tangent.cases import EPS, SIZES
from genfuse_kernels.norm_tangent.cases import sets as case

__all__ = ["EPS", "SIZES", "assert_near", "at_once", "case", "doubled", "run", "scales"]


def run(
    given: list[Tensor | None], gradient: Tensor, op: Callable[..., Tensor] = norm_tangent
) -> list[Tensor]:
    """The result and the gradients of what is given, in its dtype."""
    leaves = [None if t is None else t.detach().requires_grad_() for t in given]
    x, tangent, weight = leaves
    assert x is not None and tangent is not None
    y = op(x, tangent, weight, eps=EPS)
    wanted = [t for t in leaves if t is not None]
    return [y.detach(), *torch.autograd.grad(y, wanted, gradient)]


def doubled(given: list[Tensor | None]) -> list[Tensor | None]:
    return [None if t is None else t.double() for t in given]


def scales(given: list[Tensor | None], gradient: Tensor) -> list[Tensor]:
    """Sums of the magnitudes of what each result is added up from, in float64."""
    x, tangent, weight = doubled(given)
    assert x is not None and tangent is not None
    g = gradient.double().abs()
    one = torch.ones(1, 1, dtype=torch.float64) if weight is None else weight.abs()
    w = reference.weighted(g, one)
    centred = x - x.mean(1, keepdim=True)
    r = torch.rsqrt(centred.square().mean(1, keepdim=True) + EPS)
    normal = centred.abs() * r
    # what x is off by before anything is computed of it
    rounding = 1 + x.abs().amax(1, keepdim=True) * r

    def mean(of: Tensor) -> Tensor:
        return of.mean(1, keepdim=True)

    t = tangent.abs()
    moved = cases.moved(x, tangent)
    projected = r * (w + mean(w) + normal * mean(normal * w)) * rounding
    of_x = (
        r
        * (mean(normal * t) * 3 * projected + normal * mean(w * moved) + moved * mean(w * normal))
        * rounding
    )
    product = g * moved
    found = [reference.weighted(moved, one), of_x, projected]
    if weight is not None:
        rows, columns = weight.shape
        by = product.reshape(-1, rows, columns, product.shape[1] // columns)
        found.append(by.sum((0, 3)))
    return found


def at_once(given: list[Tensor | None], gradient: Tensor, backend: Backend) -> list[Tensor]:
    """`run` where the gradient is known beforehand; backward is given another one, which nobody looks at."""

    def op(x: Tensor, tangent: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        return by_kernels(backend, x, tangent, weight, eps, gradient)

    return run(given, torch.full_like(gradient, torch.nan), op)


def assert_near(size: str, offset: float = 0.0, scale: float = 1.0) -> None:
    given, gradient = case(size, offset, scale)
    got = run(given, gradient)
    want = run(doubled(given), gradient.double(), reference.norm_tangent)
    for name, a, b, bound in zip(
        ("out", "x", "tangent", "weight"), got, want, scales(given, gradient), strict=False
    ):
        assert ((a.double() - b).abs() <= spec.tolerance(torch.float32) * bound).all(), name
