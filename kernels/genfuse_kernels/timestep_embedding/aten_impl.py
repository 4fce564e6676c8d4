"""`timestep_embedding` by PyTorch's own kernels, which its definition is made of."""

from __future__ import annotations

from genfuse_kernels.timestep_embedding.reference_impl import timestep_embedding

__all__ = ["timestep_embedding"]
