"""`bias_act` by PyTorch's own kernels, which its definition is made of."""

from __future__ import annotations

from genfuse_kernels.bias_act.reference_impl import bias_act

__all__ = ["bias_act"]
