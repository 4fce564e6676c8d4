"""The nodes that a solver steps over: model time, signal and noise level of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genfuse.samplers import libm


@dataclass(frozen=True, eq=False)
class Grid:
    """n + 1 nodes x_i = alpha_i·x0 + sigma_i·noise, from the noisiest to the last; one step between two.

    timesteps  (n,)      what the model is given at nodes 0..n−1
    alpha      (n + 1,)  float64; variance preserving: alpha² + sigma² = 1, exploding: alpha = 1,
    sigma      (n + 1,)  float64; flow: alpha = 1 − sigma
    """

    timesteps: NDArray[np.float64]
    alpha: NDArray[np.float64]
    sigma: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.timesteps)

    @cached_property
    def log_snr(self) -> NDArray[np.float64]:
        """lambda_i = log(alpha_i / sigma_i), (n + 1,); inf where sigma is 0."""
        return libm.log(self.alpha) - libm.log(self.sigma)
