"""Where a penalty takes the critic's gradient."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from genfuse.ops.philox_normal import philox_normal
from genfuse.penalties.kinds import Place
from genfuse_kernels.philox_normal.host_words import first_words
from genfuse_kernels.philox_normal.spec import STREAM_INTERPOLATION, STREAM_PERTURBATION

_PERTURBATION = 0.5
"""Deviation of DRAGAN's noise, in those of the pictures (Kodali et al.'s code)."""


def point_of(place: Place, real: Tensor | None, fake: Tensor | None, seed: int, first: int = 0) -> Tensor:
    """(N, ...) like the pictures, with the graph that they have.

    A sample's weight and noise come from Philox with the seed as key and the sample's number as row, the first one's
    being ``first``.
    """
    if place == "real" and real is not None:
        return real
    if place == "fake" and fake is not None:
        return fake
    assert real is not None
    if place == "interpolates":
        assert fake is not None
        return torch.lerp(fake, real, _weights(real, seed, first))
    noise = noise_like(real, seed, STREAM_PERTURBATION, first)
    wide = real.detach() if real.dtype == torch.float64 else real.detach().float()
    return real + noise * (_PERTURBATION * wide.std(correction=0)).to(real.dtype)


def _weights(real: Tensor, seed: int, first: int) -> Tensor:
    """Of the real pictures, uniform in (0, 1), one a sample."""
    rows = np.arange(first, first + real.shape[0], dtype=np.int64)
    uniform = ((first_words(seed, rows, STREAM_INTERPOLATION) >> np.uint64(9)) + 0.5) * 2.0**-23
    weights = torch.from_numpy(uniform).to(real.device, real.dtype)
    return weights.reshape(-1, *(1,) * (real.ndim - 1))


def noise_like(samples: Tensor, seed: int, stream: int, first: int = 0) -> Tensor:
    """Standard normal noise of the samples' shape, dtype and device."""
    seeds, rows = _keys(samples, seed, first)
    return philox_normal(seeds, samples.shape, row=rows, stream=stream, dtype=samples.dtype)


def _keys(samples: Tensor, seed: int, first: int) -> tuple[Tensor, Tensor]:
    """The seed and the sample's number, int64 (N,) both."""
    rows = torch.arange(first, first + samples.shape[0], dtype=torch.int64, device=samples.device)
    return torch.full_like(rows, seed), rows


def drawn(seed: int | None) -> int:
    """The seed, or one from PyTorch's generator."""
    return int(torch.randint(2**63 - 1, (), device="cpu").item()) if seed is None else int(seed)
