"""`conv_norm_act` composed of PyTorch's ops, as a launcher."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from genfuse_kernels.conv_norm_act import reference
from genfuse_kernels.conv_norm_act.settings import Settings


def launcher(normalise: reference.Normalise | None) -> Callable[..., None]:
    """The launcher whose norms are `normalise`, or the definition's."""

    def conv_norm_act(
        out: Tensor,
        stats_out: Tensor | None,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        settings: Settings,
        *,
        skip: Tensor | None = None,
        norm_weight: Tensor | None = None,
        norm_bias: Tensor | None = None,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        stats: Tensor | None = None,
        film_scale: Tensor | None = None,
        film_shift: Tensor | None = None,
        shift: Tensor | None = None,
        residual: Tensor | None = None,
    ) -> None:
        """Fill `out` and `stats_out`; see `spec`."""
        y = reference.conv_norm_act(
            x,
            weight,
            bias,
            settings,
            skip=skip,
            norm_weight=norm_weight,
            norm_bias=norm_bias,
            running_mean=running_mean,
            running_var=running_var,
            stats=stats,
            film_scale=film_scale,
            film_shift=film_shift,
            shift=shift,
            residual=residual,
            normalise=normalise,
        )
        out.copy_(y)
        if stats_out is not None:
            stats_out.copy_(reference.channel_stats(y))

    return conv_norm_act
