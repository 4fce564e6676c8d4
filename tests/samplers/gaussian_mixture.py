"""A diffusion known exactly: a Gaussian mixture, a schedule straight in log SNR, the true flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from genfuse.samplers.grid import Grid
from genfuse.samplers.schedule import NoiseSchedule
from genfuse.samplers.table import Table
from genfuse_kernels.sampler_step.reference import sampler_step
from genfuse_kernels.sampler_step.row import COLUMN

Array = NDArray[np.float64]

LAST_TIME = 999
LOG_SNR_AT_0, LOG_SNR_AT_LAST = 3.0, -3.0
WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([-0.8, 0.3, 1.1])
STDS = np.array([0.5, 0.6, 0.4])
STARTS = np.linspace(-1.8, 1.8, 13)
"""Samples at the first node, in units of its standard deviation."""


def log_snr_of(times: Array) -> Array:
    """log(alpha/sigma), linear in time, so that a time between two of the schedule's is exact too."""
    return LOG_SNR_AT_0 + (LOG_SNR_AT_LAST - LOG_SNR_AT_0) * np.asarray(times) / LAST_TIME


def time_of(log_snr: Array) -> Array:
    return np.asarray((log_snr - LOG_SNR_AT_0) / (LOG_SNR_AT_LAST - LOG_SNR_AT_0) * LAST_TIME)


def preserving(log_snr: Array) -> tuple[Array, Array]:
    """(alpha, sigma), alpha² + sigma² = 1."""
    return 1 / np.sqrt(1 + np.exp(-2 * log_snr)), 1 / np.sqrt(1 + np.exp(2 * log_snr))


SCHEDULE = NoiseSchedule(preserving(log_snr_of(np.arange(LAST_TIME + 1.0)))[0] ** 2, "straight")


def vp_grid(steps: int, *, even_in: str = "log_snr", first: float = -2.5, last: float = 2.0) -> Grid:
    """n steps between two log SNRs, even in it or in sigma/alpha."""
    log_snr = np.linspace(first, last, steps + 1)
    if even_in == "sigma":
        log_snr = -np.log(np.linspace(np.exp(-first), np.exp(-last), steps + 1))
    alpha, sigma = preserving(log_snr)
    return Grid(timesteps=time_of(log_snr[:-1]), alpha=alpha, sigma=sigma)


def flow_grid(steps: int) -> Grid:
    """n even steps in sigma of the straight flow; the model's time is 1000·sigma."""
    sigma = np.linspace(0.9, 0.15, steps + 1)
    return Grid(timesteps=1000 * sigma[:-1], alpha=1 - sigma, sigma=sigma)


def epsilon(x: Array, alpha: float, sigma: float) -> Array:
    """−sigma·score of the mixture's marginal at a node: what a perfect network predicts."""
    variance = (alpha * STDS) ** 2 + sigma**2
    distance = x[:, None] - alpha * MEANS
    log_density = np.log(WEIGHTS / np.sqrt(variance)) - distance**2 / (2 * variance)
    shares = np.exp(log_density - log_density.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return np.asarray(sigma * (shares * distance / variance).sum(1))


@dataclass(frozen=True)
class Flow:
    """The exact probability flow at the nodes of a grid, from the same samples of the first."""

    samples: Array

    @classmethod
    def through(cls, grid: Grid) -> Flow:
        """d(x/alpha)/d(sigma/alpha) = epsilon, integrated to 1e-13. samples (n + 1, K)."""
        ratio = grid.sigma / grid.alpha
        variance = (grid.alpha[0] * STDS) ** 2 + grid.sigma[0] ** 2
        start = STARTS * np.sqrt(WEIGHTS @ (variance + (grid.alpha[0] * MEANS) ** 2))

        def slope(minus_log: float, y: Array) -> Array:
            rho = np.exp(-minus_log)
            return -rho * epsilon(y, 1.0, rho)

        nodes = -np.log(ratio)
        solved: Any = solve_ivp(
            slope,
            (nodes[0], nodes[-1]),
            start / grid.alpha[0],
            "DOP853",
            t_eval=nodes,
            rtol=1e-13,
            atol=1e-13,
        )
        return cls(solved.y.T * grid.alpha[:, None])


def run(table: Table, grid: Grid, start: Array, exact: Array | None = None, known: int = 0) -> Array:
    """The last sample (K,) of a table whose network predicts epsilon, or the velocity on a flow's grid.

    exact, known  the first `known` rows start from exact samples, so that what they store is exact
    """
    flow = bool(np.isclose(grid.alpha[0] + grid.sigma[0], 1))
    x = torch.from_numpy(start)[None]
    history: dict[int, torch.Tensor] = {}
    for row in range(len(table)):
        if exact is not None and row < known:
            x = torch.from_numpy(exact[row])[None]
        time = table.timesteps[row]
        alpha, sigma = (1 - time / 1000, time / 1000) if flow else preserving(log_snr_of(time))
        seen = x[0].numpy() * table.input_scale[row]
        output = epsilon(seen, float(alpha), float(sigma))
        if flow:
            output = output - (seen - sigma * output) / alpha
        slots = [history.get(slot, torch.zeros_like(x)) for slot in range(4)]
        x, stored = sampler_step(x, torch.from_numpy(output)[None], table.rows, row, history=slots)
        if table.rows[row, COLUMN["store"]] >= 0:
            history[int(table.rows[row, COLUMN["store"]])] = stored
    return np.asarray(x[0].numpy())
