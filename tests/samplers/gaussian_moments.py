"""Mean and variance of a table's samples where the target is one Gaussian: every row is then linear."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genfuse.samplers.grid import Grid
from genfuse.samplers.table import Table
from genfuse_kernels.sampler_step.row import COLUMN, TERMS, S, Y
from samplers.gaussian_mixture import log_snr_of, preserving

Array = NDArray[np.float64]

MEAN, STD = 0.7, 0.6

# The state that a row maps: the sample, the history, the row's noise (for the next), and 1.
_SAMPLE, _HISTORY, _NOISE, _ONE = 0, slice(1, 5), 5, 6


def marginal(alpha: float, sigma: float) -> Array:
    """(mean, variance) of alpha·x0 + sigma·noise with x0 of the target."""
    return np.array([alpha * MEAN, (alpha * STD) ** 2 + sigma**2])


def final_moments(table: Table, grid: Grid) -> Array:
    """(mean, variance) after the last row, from the exact ones at the first node, without sampling error."""
    mean, variance = marginal(grid.alpha[0], grid.sigma[0])
    moments = np.zeros((7, 7))  # E[z zᵀ]
    moments[_SAMPLE, _SAMPLE] = variance + mean**2
    moments[_SAMPLE, _ONE] = moments[_ONE, _SAMPLE] = mean
    moments[_ONE, _ONE] = 1.0
    for row in range(len(table)):
        step, noise = _row_map(table, row)
        moments = step @ moments @ step.T + np.outer(noise, noise)
    mean = moments[_SAMPLE, _ONE]
    return np.array([mean, moments[_SAMPLE, _SAMPLE] - mean**2])


def _row_map(table: Table, row: int) -> tuple[Array, Array]:
    """(7, 7) what the row does to the state, and (7,) what its fresh noise adds."""
    values = table.rows[row].numpy()
    alpha, sigma = (float(level) for level in preserving(log_snr_of(table.timesteps[row])))
    variance = (alpha * STD) ** 2 + sigma**2
    identity = np.eye(7)
    terms = dict(zip(("x", "h0", "h1", "h2", "h3", "noise_prev"), identity[:6], strict=True))
    seen = terms["x"] * table.input_scale[row]
    terms["m"] = sigma * (seen - alpha * MEAN * identity[_ONE]) / variance
    terms["x0"] = values[COLUMN["x0_x"]] * terms["x"] + values[COLUMN["x0_m"]] * terms["m"]
    terms["noise"] = np.zeros(7)

    def combined(first: int) -> tuple[Array, float]:
        coefficients = dict(zip(TERMS, values[first : first + len(TERMS)], strict=True))
        linear = sum((coefficients[name] * terms[name] for name in TERMS), np.zeros(7))
        return linear, float(coefficients["noise"])

    step, noise = identity.copy(), np.zeros(7)
    step[_SAMPLE], noise[_SAMPLE] = combined(Y)
    slot = int(values[COLUMN["store"]])
    if slot >= 0:
        step[1 + slot], noise[1 + slot] = combined(S)
    step[_NOISE], noise[_NOISE] = 0.0, 1.0
    return step, noise
