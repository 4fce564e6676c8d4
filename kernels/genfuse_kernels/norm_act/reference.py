"""`norm_act` in plain PyTorch: the definition of the op."""

from __future__ import annotations

from torch import Tensor

from genfuse_kernels.conv_norm_act.reference import Normalise, activated, normalised
from genfuse_kernels.conv_norm_act.settings import Settings


def norm_act(
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
    normalise: Normalise | None = None,
) -> Tensor:
    """The output (N, C, H, W); see `spec`. `normalise` may stand in for `normalised`."""
    s = settings
    h = (normalise or normalised)(x, s, norm_weight, norm_bias, running_mean, running_var, stats)
    if film_scale is not None and film_shift is not None:
        h = h * (1 + film_scale[:, :, None, None]) + film_shift[:, :, None, None]
    y = activated(h, s.activation, s.negative_slope)
    if residual is not None:
        y = y + residual
    if s.scale != 1:
        y = y * s.scale
    return activated(y, s.out_activation, s.negative_slope)
