"""The solvers by name: which function builds the table, and with which options."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from genfuse.samplers.grid import Grid
from genfuse.samplers.levels import Levels
from genfuse.samplers.names import check_name, unknown_name
from genfuse.samplers.table import Clip, Table


@dataclass(frozen=True)
class Solver:
    """A table function of `genfuse.samplers.<module>` with the options that make a named solver of it."""

    module: str
    function: str
    options: dict[str, Any] = field(default_factory=dict)

    def table(self, grid: Grid, prediction: str, levels: Levels, *, clip: Clip, **options: Any) -> Table:
        """The table on a grid. TypeError for an option that the solver does not have, naming those it has."""
        build: Callable[..., Table] = getattr(importlib.import_module(f"genfuse.samplers.{self.module}"), self.function)
        known = inspect.signature(build).parameters
        own = [name for name in known if name not in ("grid", "prediction", "clip", "begin", "schedule")]
        for name in options:
            if name not in own:
                raise TypeError(unknown_name("option", name, own))
        fixed: dict[str, Any] = {"clip": clip, "prediction": prediction}
        if "schedule" in known:
            fixed["schedule"] = levels.schedule
        return build(grid, **fixed, **{**self.options, **options})


SOLVERS: dict[str, Solver] = {}


def solver(name: str) -> Solver:
    """ValueError, with the nearest right name, for a solver that is not there."""
    return SOLVERS[check_name("sampler", name, SOLVERS)]
