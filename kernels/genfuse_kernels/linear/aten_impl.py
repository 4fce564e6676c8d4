"""`linear` by PyTorch's own kernels, which its definition is made of."""

from __future__ import annotations

from genfuse_kernels.linear.reference_impl import linear

__all__ = ["linear"]
