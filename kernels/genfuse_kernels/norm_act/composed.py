"""`norm_act` composed of PyTorch's ops, as a launcher."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from genfuse_kernels.conv_norm_act.reference import Normalise, channel_stats
from genfuse_kernels.conv_norm_act.settings import Settings
from genfuse_kernels.norm_act import reference


def launcher(normalise: Normalise | None) -> Callable[..., None]:
    """The launcher whose norms are `normalise`, or the definition's."""

    def norm_act(
        out: Tensor,
        stats_out: Tensor | None,
        x: Tensor,
        settings: Settings,
        *,
        norm_weight: Tensor | None = None,
        norm_bias: Tensor | None = None,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        stats: Tensor | None = None,
        film_scale: Tensor | None = None,
        film_shift: Tensor | None = None,
        residual: Tensor | None = None,
    ) -> None:
        """Fill `out` and `stats_out`; see `spec`."""
        y = reference.norm_act(
            x,
            settings,
            norm_weight=norm_weight,
            norm_bias=norm_bias,
            running_mean=running_mean,
            running_var=running_var,
            stats=stats,
            film_scale=film_scale,
            film_shift=film_shift,
            residual=residual,
            normalise=normalise,
        )
        out.copy_(y)
        if stats_out is not None:
            stats_out.copy_(channel_stats(y))

    return norm_act
