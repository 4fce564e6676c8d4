"""`norm_direction` by PyTorch's own kernels, which its definition is made of."""

from __future__ import annotations

from genfuse_kernels.norm_direction.reference_impl import norm_direction

__all__ = ["norm_direction"]
