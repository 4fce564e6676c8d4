"""The gradients of `norm_act` from a backend's gradient of what a convolution would read."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import Tensor

from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings


def scaled_gradient(
    read: Callable[..., dict[str, Tensor]],
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
    return read(scaled, x, settings, tensors, through_stats=through_stats, needs=needs)
