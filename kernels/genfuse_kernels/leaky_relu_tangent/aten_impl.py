"""`leaky_relu_tangent` by PyTorch's own kernels, which its definition is made of."""

from __future__ import annotations

from genfuse_kernels.leaky_relu_tangent.reference_impl import leaky_relu_tangent

__all__ = ["leaky_relu_tangent"]
