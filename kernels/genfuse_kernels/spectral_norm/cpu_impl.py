"""`spectral_norm` by the C++ kernels: csrc/spectral_norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES
from genfuse_kernels.spectral_norm.spec import sizes, vector_sizes


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
    dense = [weight.contiguous() for weight in weights]
    place, layers = vectors.data_ptr(), []
    for weight, u, v, to, dim in zip(dense, us, vs, normalised, dims, strict=True):
        layers.append(
            (
                DTYPE_CODES[weight.dtype],
                *sizes(weight.shape, dim),
                weight.data_ptr(),
                u.data_ptr(),
                v.data_ptr(),
                place,
                to.data_ptr(),
            )
        )
        place += vectors.element_size() * sum(vector_sizes(weight, dim))
    _cpu.spectral_norm(layers, steps, eps, sigmas.data_ptr(), torch.get_num_threads())


def spectral_norm_gradient(
    out: Sequence[Tensor],
    gradients: Sequence[Tensor],
    normalised: Sequence[Tensor],
    sigmas: Tensor,
    vectors: Tensor,
    dims: Sequence[int],
) -> None:
    """Fill `out`; see `spec`."""
    dense = [gradient.contiguous() for gradient in gradients]
    place, layers = vectors.data_ptr(), []
    for gradient, quotient, sigma, to, dim in zip(dense, normalised, sigmas.tolist(), out, dims, strict=True):
        layers.append(
            (
                DTYPE_CODES[gradient.dtype],
                *sizes(gradient.shape, dim),
                gradient.data_ptr(),
                quotient.data_ptr(),
                place,
                sigma,
                to.data_ptr(),
            )
        )
        place += vectors.element_size() * sum(vector_sizes(gradient, dim))
    _cpu.spectral_norm_gradient(layers, torch.get_num_threads())
