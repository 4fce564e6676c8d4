"""`timestep_embedding` by its definition, as a launcher."""

from __future__ import annotations

from torch import Tensor

from genfuse_kernels.timestep_embedding import reference


def timestep_embedding(
    out: Tensor,
    t: Tensor,
    flip_sin_to_cos: bool,
    downscale_freq_shift: float,
    scale: float,
    max_period: float,
) -> None:
    """Fill `out`; see `spec`."""
    out.copy_(
        reference.timestep_embedding(
            t, out.shape[1], flip_sin_to_cos, downscale_freq_shift, scale, max_period
        )
    )
