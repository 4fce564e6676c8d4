"""Tables that start in the middle: rows before the first one used are empty, so rows keep their place."""

from __future__ import annotations

from genfuse.samplers.combination import ZERO
from genfuse.samplers.grid import Grid
from genfuse.samplers.prediction import Prediction
from genfuse.samplers.table import TableBuilder

_NOTHING = Prediction(x0=ZERO, epsilon=ZERO)


def begun_table(grid: Grid, begin: int) -> TableBuilder:
    """A builder with `begin` empty rows at the first times; ValueError unless 0 <= begin < len(grid)."""
    if not 0 <= begin < max(len(grid), 1):
        raise ValueError(
            f"begin is {begin}, expected 0 to {len(grid) - 1}: the first row used of {len(grid)}"
        )
    builder = TableBuilder()
    for timestep in grid.timesteps[:begin]:
        builder.row(timestep, _NOTHING, ZERO)
    return builder
