"""`clip_weights` by its definition, as a launcher."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from genfuse_kernels.clip_weights import reference


def clip_weights(parameters: Sequence[Tensor], bound: float) -> None:
    """Change `parameters` in place; see `spec`."""
    for parameter in parameters:
        parameter.copy_(reference.clip_weights(parameter, bound))
