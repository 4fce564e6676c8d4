"""`norm_tangent` by PyTorch's own kernels, which its definition is made of."""

from __future__ import annotations

from genfuse_kernels.norm_tangent.reference_impl import norm_tangent

__all__ = ["norm_tangent"]
