"""`conv_norm_act` composed of PyTorch's ops, as a launcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from genfuse_kernels.conv_norm_act import reference
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors

if TYPE_CHECKING:
    from typing_extensions import Unpack


def launcher(normalise: reference.Normalise | None) -> Callable[..., None]:
    """The launcher whose norms are `normalise`, or the definition's."""

    def conv_norm_act(
        out: Tensor,
        stats_out: Tensor | None,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        settings: Settings,
        **tensors: Unpack[UnitTensors],
    ) -> None:
        """Fill `out` and `stats_out`; see `spec`."""
        y = reference.conv_norm_act(x, weight, bias, settings, normalise=normalise, **tensors)
        out.copy_(y)
        if stats_out is not None:
            stats_out.copy_(reference.channel_stats(y))

    return conv_norm_act
