"""Layers for `spectral_norm`, and what its launchers are held against."""

from __future__ import annotations

import torch

from genfuse_kernels.spectral_norm import reference, spec
from genfuse_kernels.spectral_norm.cases import SHAPES, Layers
from ops.cpu_cases import laid_out, untouched_elsewhere

__all__ = ["SHAPES", "Layers", "hold", "hold_gradient"]


def hold(launch, layers: Layers, steps: int, eps: float = 1e-12) -> None:
    """A launcher against the reference, by the vectors that it was given."""
    before = [(u.double().clone(), v.double().clone()) for u, v in zip(layers.us, layers.vs, strict=True)]
    normalised, sigmas, vectors = layers.room()
    launch(normalised, sigmas, vectors, *layers.all, layers.dims, steps, eps)
    kept = reference.split(vectors, layers.weights, layers.dims)
    for i, weight in enumerate(layers.weights):
        dim, wide = layers.dims[i], weight.double()
        want = reference.iterated(wide, *before[i], dim, steps, eps)
        quotient, sigma = reference.normalised(wide, *want, dim)
        error = spec.tolerance(weight, steps)
        assert abs(sigmas[i] - sigma) <= error * sigma
        assert (normalised[i].double() - quotient).abs().max() <= error * quotient.abs().max()
        for stored, keep, exact in zip((layers.us[i], layers.vs[i]), kept[i], want, strict=True):
            assert (keep.double() - exact).norm() <= error
            assert (stored.double() - exact).norm() <= error
        for tensor in (weight, layers.us[i], layers.vs[i], normalised[i]):
            assert untouched_elsewhere(tensor)


def hold_gradient(kernels, layers: Layers) -> None:
    """A backend's gradient of one step against the definition's."""
    made = layers.room()
    kernels.spectral_norm(*made, *layers.all, layers.dims, 1, 1e-12)
    normalised, sigmas, vectors = made
    gradients = [laid_out(torch.randn(w.shape).to(w.dtype), "channels_last") for w in normalised]
    out = [laid_out(torch.full_like(w, torch.nan), "contiguous") for w in normalised]
    kernels.spectral_norm_gradient(out, gradients, normalised, sigmas, vectors, layers.dims)
    for i, (u, v) in enumerate(reference.split(vectors.double(), normalised, layers.dims)):
        g, q, sigma = gradients[i].double(), normalised[i].double(), sigmas[i].double()
        want = reference.gradient(g, q, sigma, u, v, layers.dims[i])
        products = (g * q).abs().sum() * (u.abs().max() * v.abs().max()) + g.abs().max()
        error = spec.tolerance(layers.weights[i], 1) * products / sigma
        assert (out[i].double() - want).abs().max() <= error
        assert untouched_elsewhere(out[i]) and untouched_elsewhere(gradients[i])
