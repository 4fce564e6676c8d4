"""`upfirdn2d` by PyTorch's own kernels, which its definition is made of."""

from __future__ import annotations

from genfuse_kernels.upfirdn2d.reference_impl import upfirdn2d

__all__ = ["upfirdn2d"]
