"""`philox_lerp` by PyTorch's own kernels, which its definition is made of."""

from __future__ import annotations

from genfuse_kernels.philox_lerp.reference_impl import philox_lerp

__all__ = ["philox_lerp"]
