"""Layers for `spectral_norm`: weights of every size, axis and layout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import Output, output, short
from genfuse_kernels.common.guarded import laid_out
from genfuse_kernels.spectral_norm import reference, spec

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
        self.weights: list[Tensor] = []
        self.us: list[Tensor] = []
        self.vs: list[Tensor] = []
        self.dims: list[int] = []
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


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """All layers at once, by no, one or two steps."""
    layers, steps, eps = Layers(seed, dtype), seed % 3, 1e-12
    wide = [
        reference.iterated(w.double(), u.double(), v.double(), dim, steps, eps)
        for w, u, v, dim in zip(layers.weights, layers.us, layers.vs, layers.dims, strict=True)
    ]
    of = spec.sigma_dtype(layers.weights)
    outputs: list[Output] = []
    sigmas, errors = [], []
    for i, (weight, (u, v)) in enumerate(zip(layers.weights, wide, strict=True)):
        quotient, sigma = reference.normalised(weight.double(), u, v, layers.dims[i])
        error = spec.tolerance(weight, steps)
        outputs.append(output(f"normalised[{i}]", quotient, error * float(quotient.abs().max()), dtype))
        sigmas.append(sigma)
        errors.append(error)
        for name, stored, exact in (("us", layers.us[i], u), ("vs", layers.vs[i], v)):
            allowed = torch.tensor(error, dtype=torch.float64)
            outputs.append(Output(f"{name}[{i}]", stored, exact, allowed))
    values = torch.stack(sigmas)
    of_sigmas = output("sigmas", values, torch.tensor(errors, dtype=torch.float64) * values.abs(), of)
    kept = torch.cat([vector for both in wide for vector in both])
    of_vectors = output("vectors", kept, max(errors), of)
    arguments: dict[str, Any] = {
        "normalised": [each.tensor for each in outputs if each.name.startswith("normalised")],
        "sigmas": of_sigmas.tensor,
        "vectors": of_vectors.tensor,
        "weights": layers.weights,
        "us": layers.us,
        "vs": layers.vs,
        "dims": layers.dims,
        "steps": steps,
        "eps": eps,
    }
    return cases.Case(
        f"{len(SHAPES)} layers, {steps} steps, {short(dtype)}", arguments, [*outputs, of_sigmas, of_vectors]
    )
