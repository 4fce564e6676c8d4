"""Layers for `spectral_norm`, and what its launchers are held against."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.spectral_norm import reference, spec
from ops.cpu_cases import laid_out, untouched_elsewhere

SHAPES = (
    (64, 3, 4, 4),
    (37, 64, 4, 4),
    (17, 33),
    (5, 1),
    (1, 5),
    (31, 7, 3, 3),
    (70, 1100),
    (1, 40, 4, 4),
    (3, 5, 7, 2, 3),
    (129, 9, 5),
)
LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced")


class Layers:
    """Weights with vectors some steps from random ones, between NaN that is not to be touched."""

    def __init__(self, seed: int, dtype: torch.dtype, scale: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.weights, self.us, self.vs, self.dims = [], [], [], []
        for shape in SHAPES:
            weight = torch.from_numpy(rng.standard_normal(shape)) * scale
            dim = int(rng.integers(len(shape)))
            drawn = [
                torch.from_numpy(rng.standard_normal(n)) for n in (shape[dim], math.prod(shape) // shape[dim])
            ]
            u, v = reference.iterated(weight / scale, drawn[0], drawn[1] / drawn[1].norm(), dim, 5, 0.0)
            self.weights.append(laid_out(weight.to(dtype), LAYOUTS[rng.integers(len(LAYOUTS))]))
            self.us.append(laid_out(u.to(dtype), "contiguous"))
            self.vs.append(laid_out(v.to(dtype), "contiguous"))
            self.dims.append(dim)

    @property
    def all(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        return self.weights, self.us, self.vs

    def room(self) -> tuple[list[Tensor], Tensor, Tensor]:
        dtype = spec.sigma_dtype(self.weights)
        kept = sum(len(u) + len(v) for u, v in zip(self.us, self.vs, strict=True))
        normalised = [laid_out(torch.empty_like(w).fill_(torch.nan), "contiguous") for w in self.weights]
        nan = torch.nan
        return normalised, torch.full((len(SHAPES),), nan, dtype=dtype), torch.full((kept,), nan, dtype=dtype)


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
