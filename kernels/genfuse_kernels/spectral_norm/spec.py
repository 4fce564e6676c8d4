"""The contract of `spectral_norm` (Miyato et al. 2018, algorithm 1, as `torch.nn.utils.parametrizations` has it).

    launch(normalised, sigmas, vectors, weights, us, vs, dims, steps, eps)

For each layer, with W its weight as a matrix, rows along its axis `dim` and columns along the others in order:

    `steps` times:   u = W·v / max(‖W·v‖, eps),   v = Wᵀ·u / max(‖Wᵀ·u‖, eps)
    sigma = uᵀ·W·v,   normalised = weight / sigma

    weights      at least two axes, no size of 0; one dtype a layer for weight, u, v and normalised
    us, vs       (rows,) and (columns,), dense; changed in place where steps > 0, and read alone where it is 0
    normalised   like the weights, dense
    sigmas       (layers,) float32, float64 where a weight is float64
    vectors      (Σ rows + columns,) in sigmas' dtype: gets each layer's u and v, one behind the other, as the gradient
                 goes by them

    launch_gradient(out, gradients, normalised, sigmas, vectors, dims)

    out = (gradient − Σ(gradient∘normalised)·u·vᵀ) / sigma   in the weight's form, u and v held fixed

Kernels take float32, bfloat16 and float16. They add up in float32, squares of vectors in float64, in an order that
depends on sizes alone. float64, which networks are checked in, runs on PyTorch's (`aten`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

ROWS, VECTOR = 16, 256
"""Of a matrix that a Triton program takes, and elements of a vector at a time."""

MOST_PROGRAMS = 65535
"""Along the second axis of a grid, which counts the blocks of a layer."""


def sigma_dtype(weights: Sequence[Tensor]) -> torch.dtype:
    """Of the norms and of the vectors that are kept."""
    return torch.float64 if any(weight.dtype == torch.float64 for weight in weights) else torch.float32


def matrix(weight: Tensor, dim: int) -> Tensor:
    """(rows, columns): the weight with its axis `dim` in front."""
    return weight.movedim(dim, 0).flatten(1)


def sizes(shape: Sequence[int], dim: int) -> tuple[int, int, int]:
    """(outer, rows, inner) of a dense weight: a matrix's element (row, column) is one of [outer][row][inner]."""
    return math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1 :])


def vector_sizes(weight: Tensor, dim: int) -> tuple[int, int]:
    """Of u and of v."""
    rows = weight.shape[dim]
    return rows, weight.numel() // rows


def triton_limit(shapes: Sequence[Sequence[int]], dims: Sequence[int]) -> str | None:
    """Why Triton's kernels do not take such weights, one with too many rows or columns; None where they do."""
    for place, (shape, dim) in enumerate(zip(shapes, dims, strict=True)):
        outer, rows, inner = sizes(shape, dim)
        for name, size, block in (("rows", rows, ROWS), ("columns", outer * inner, VECTOR)):
            if size > block * MOST_PROGRAMS:
                return f"weights[{place}] has {size} {name}, expected at most {block * MOST_PROGRAMS}"
    return None


def tolerance(weight: Tensor, steps: int, *, stored: torch.dtype | None = None) -> float:
    """Error of a vector of norm 1, and relative error of sigma and of what is divided by it.

    A product of the matrix and a vector rounds as its longer sum does, four standard deviations, relative to the sum of
    magnitudes, which of a random matrix is √n times the sum. A further step repeats that. What is stored rounds once.
    """
    arithmetic = torch.float64 if weight.dtype == torch.float64 else torch.float32
    longest = max(weight.numel() // min(weight.shape), max(weight.shape))
    of_sums = 4 * math.sqrt(longest) * UNIT_ROUNDOFF[arithmetic] + 8 * UNIT_ROUNDOFF[arithmetic]
    return (2 * steps + 2) * of_sums + UNIT_ROUNDOFF[stored or weight.dtype]


def bytes_moved(weights: Sequence[Tensor], steps: int, gradient: bool = False) -> int:
    """A step reads the weights once, the division reads and writes them; a gradient reads three and writes one."""
    return (max(steps, 1) + 2 + 4 * gradient) * sum(weight.nbytes for weight in weights)
