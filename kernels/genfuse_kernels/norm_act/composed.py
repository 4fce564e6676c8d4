"""`norm_act` composed of PyTorch's ops, as a launcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from genfuse_kernels.conv_norm_act.reference import Normalise, channel_stats
from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings
from genfuse_kernels.norm_act import reference

if TYPE_CHECKING:
    from typing_extensions import Unpack


def launcher(normalise: Normalise | None) -> Callable[..., None]:
    """The launcher whose norms are `normalise`, or the definition's."""

    def norm_act(
        out: Tensor, stats_out: Tensor | None, x: Tensor, settings: Settings, **tensors: Unpack[NormTensors]
    ) -> None:
        """Fill `out` and `stats_out`; see `spec`."""
        y = reference.norm_act(x, settings, normalise=normalise, **tensors)
        out.copy_(y)
        if stats_out is not None:
            stats_out.copy_(channel_stats(y))

    return norm_act
