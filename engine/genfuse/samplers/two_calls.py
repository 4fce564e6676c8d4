"""Solvers that call the model twice a step: their rows, and where a run may start."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genfuse.samplers.grid import Grid

Array = NDArray[np.float64]


def interleaved(first: Array, second: Array) -> Array:
    """first[0], second[0], first[1], second[1], ..., first[n − 1]: (2n − 1,) from (n,) and (n − 1,)."""
    values = np.empty(2 * len(first) - 1)
    values[::2], values[1::2] = first, second
    return values


def row_grid(grid: Grid, second: Array) -> Grid:
    """The grid with one time a row, for a table's empty rows; levels are not read there."""
    return Grid(interleaved(grid.timesteps, second) if len(grid) else grid.timesteps, grid.alpha, grid.sigma)


def step_of(row: int, begin: int) -> tuple[int, bool]:
    """(step, whether the row is its second call). ValueError for a begin in the middle of a step."""
    if begin % 2:
        raise ValueError(
            f"begin is {begin}, expected an even row: a solver of two calls starts with the first"
        )
    return row // 2, bool(row % 2)
