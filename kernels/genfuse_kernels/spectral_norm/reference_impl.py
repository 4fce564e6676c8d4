"""`spectral_norm` by its definition in float64, as a launcher."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from genfuse_kernels.spectral_norm import aten_impl


def spectral_norm(
    normalised: Sequence[Tensor],
    sigmas: Tensor,
    vectors: Tensor,
    weights: Sequence[Tensor],
    us: Sequence[Tensor],
    vs: Sequence[Tensor],
    dims: Sequence[int],
    steps: int,
    eps: float,
) -> None:
    """Fill `normalised`, `sigmas` and `vectors`, and change `us` and `vs` in place; see `spec`."""
    wide_us, wide_vs = [u.double() for u in us], [v.double() for v in vs]
    wide = [weight.double() for weight in weights]
    aten_impl.spectral_norm(normalised, sigmas, vectors, wide, wide_us, wide_vs, dims, steps, eps)
    if steps:
        for to, vector in zip((*us, *vs), (*wide_us, *wide_vs), strict=True):
            to.copy_(vector)


def spectral_norm_gradient(
    out: Sequence[Tensor],
    gradients: Sequence[Tensor],
    normalised: Sequence[Tensor],
    sigmas: Tensor,
    vectors: Tensor,
    dims: Sequence[int],
) -> None:
    """Fill `out`; see `spec`."""
    wide = [gradient.double() for gradient in gradients]
    quotients = [quotient.double() for quotient in normalised]
    aten_impl.spectral_norm_gradient(out, wide, quotients, sigmas.double(), vectors.double(), dims)
