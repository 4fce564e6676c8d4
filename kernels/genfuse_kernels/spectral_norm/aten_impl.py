"""`spectral_norm` by PyTorch's own kernels, layer by layer, in the weights' dtype."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from genfuse_kernels.spectral_norm import reference
from genfuse_kernels.spectral_norm.reference import split


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
    kept = split(vectors, weights, dims)
    for i, (weight, u, v, dim) in enumerate(zip(weights, us, vs, dims, strict=True)):
        made = reference.iterated(weight, u, v, dim, steps, eps)
        quotient, sigma = reference.normalised(weight, *made, dim)
        normalised[i].copy_(quotient)
        sigmas[i] = sigma
        for vector, keep, now in zip((u, v), kept[i], made, strict=True):
            keep.copy_(now)
            if steps:
                vector.copy_(now)


def spectral_norm_gradient(
    out: Sequence[Tensor],
    gradients: Sequence[Tensor],
    normalised: Sequence[Tensor],
    sigmas: Tensor,
    vectors: Tensor,
    dims: Sequence[int],
) -> None:
    """Fill `out`; see `spec`."""
    kept = split(vectors, gradients, dims)
    for i, (to, gradient, quotient) in enumerate(zip(out, gradients, normalised, strict=True)):
        u, v = (vector.to(gradient.dtype) for vector in kept[i])
        to.copy_(reference.gradient(gradient, quotient, sigmas[i].to(gradient.dtype), u, v, dims[i]))
