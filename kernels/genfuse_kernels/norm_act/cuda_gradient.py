"""The gradients of `norm_act` by the CUDA kernels."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from genfuse_kernels.conv_norm_act.cuda_norm_gradient import read_gradient
from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings


def norm_act_gradient(
    gradient: Tensor,
    x: Tensor,
    settings: Settings,
    tensors: NormTensors,
    *,
    through_stats: bool,
    needs: Collection[str],
) -> dict[str, Tensor]:
    """The gradients that `needs` names; see `spec`."""
    scaled = gradient if settings.scale == 1 else gradient * settings.scale
    return read_gradient(
        scaled,
        x,
        settings,
        tensors,  # type: ignore[arg-type]
        through_stats=through_stats,
        needs=needs,
    )
