"""The forward process and the velocity target, as rows of the sampler's kernel: one row a noise level."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genfuse.ops import sampler_step
from genfuse.samplers.combination import ZERO, M, X
from genfuse.samplers.prediction import Prediction
from genfuse.samplers.table import TableBuilder


class Forward:
    """x = alpha·x0 + sigma·noise and v = alpha·noise − sigma·x0, at levels alpha, sigma (L,)."""

    def __init__(self, alpha: NDArray[np.float64], sigma: NDArray[np.float64]) -> None:
        nothing = Prediction(ZERO, ZERO)
        noise, velocity = TableBuilder(), TableBuilder()
        for a, s in zip(alpha, sigma, strict=True):
            noise.row(0.0, nothing, X * a + M * s)
            velocity.row(0.0, nothing, M * a - X * s)
        self._rows = {"noise": noise.build().rows, "velocity": velocity.build().rows}

    def noise(self, original: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """original noised to each sample's level; original and noise (N, ...), levels int64 (N,)."""
        return self._run("noise", original, noise, levels)

    def velocity(self, sample: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """The v-prediction target at each sample's level; shapes as `noise`."""
        return self._run("velocity", sample, noise, levels)

    def _run(self, kind: str, x: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        dtype = torch.float64 if x.device.type == "cpu" or x.dtype == torch.float64 else torch.float32
        rows = self._rows[kind] = self._rows[kind].to(x.device, dtype)
        return sampler_step(x, noise.to(x.dtype), rows, levels)
