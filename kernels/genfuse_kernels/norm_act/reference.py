"""`norm_act` in plain PyTorch: the definition of the op."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from genfuse_kernels.conv_norm_act.reference import Drop, Normalise, read, written
from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack


def norm_act(
    x: Tensor,
    settings: Settings,
    *,
    normalise: Normalise | None = None,
    drop: Drop | None = None,
    **tensors: Unpack[NormTensors],
) -> Tensor:
    """The output (N, C, H, W); see `spec`. `normalise` and `drop` may stand in for the definition's."""
    return written(read(x, settings, normalise, drop, tensors), settings, tensors.get("residual"))
