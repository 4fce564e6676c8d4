"""The gradients of `norm_act` by the C++ kernels."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from genfuse_kernels.conv_norm_act.norm_gradient import read_gradient
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
    is_scaled = settings.scale != 1
    found = read_gradient(
        gradient * settings.scale if is_scaled else gradient,
        x,
        settings,
        tensors,  # type: ignore[arg-type]
        through_stats=through_stats,
        needs=needs,
        overwrite=is_scaled,
    )
    return found.by_name(needs)
