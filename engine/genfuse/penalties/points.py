"""Where a penalty takes the critic's gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse.ops.philox_normal import philox_normal
from genfuse.penalties.kinds import Place
from genfuse_kernels.philox_normal.reference import philox_words
from genfuse_kernels.philox_normal.spec import STREAM_INTERPOLATION, STREAM_PERTURBATION

_PERTURBATION = 0.5
"""Deviation of DRAGAN's noise, in those of the pictures (Kodali et al.'s code)."""


def point_of(place: Place, real: Tensor | None, fake: Tensor | None, seed: int) -> Tensor:
    """(N, ...) like the pictures, with the graph that they have.

    A sample's weight and noise come from Philox with the seed as key and the sample's number as row.
    """
    if place == "real" and real is not None:
        return real
    if place == "fake" and fake is not None:
        return fake
    assert real is not None
    seeds = torch.full((real.shape[0],), seed, dtype=torch.int64, device=real.device)
    rows = torch.arange(real.shape[0], dtype=torch.int64, device=real.device)
    if place == "interpolates":
        assert fake is not None
        return torch.lerp(fake, real, _weights(seeds, rows, real))
    noise = philox_normal(seeds, real.shape, row=rows, stream=STREAM_PERTURBATION, dtype=real.dtype)
    wide = real.detach() if real.dtype == torch.float64 else real.detach().float()
    return real + noise * (_PERTURBATION * wide.std(correction=0)).to(real.dtype)


def _weights(seeds: Tensor, rows: Tensor, real: Tensor) -> Tensor:
    """Of the real pictures, uniform in (0, 1), one a sample."""
    words = philox_words(seeds, 1, rows, STREAM_INTERPOLATION)[:, 0]
    uniform = ((words >> 9).to(torch.float64) + 0.5) * 2.0**-23
    return uniform.to(real.dtype).reshape(-1, *(1,) * (real.ndim - 1))
