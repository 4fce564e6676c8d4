"""The solvers by name: which function builds the table, and with which options."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genfuse.names import check_name, unknown_name
from genfuse.ops import check
from genfuse.samplers.edm import EDM
from genfuse.samplers.grid import Grid
from genfuse.samplers.levels import FlowLevels, Levels, ScheduleLevels
from genfuse.samplers.options import check_option
from genfuse.samplers.table import Clip, Table


@dataclass(frozen=True)
class Solver:
    """A table function of `genfuse.samplers.<module>` with the options that make a named solver of it."""

    module: str
    function: str
    options: dict[str, Any] = field(default_factory=dict)
    levels: tuple[type[Levels], ...] = (ScheduleLevels, FlowLevels, EDM)
    """Those whose coordinates and times its formulas are for."""

    def table(self, grid: Grid, prediction: str, levels: Levels, *, clip: Clip, **options: Any) -> Table:
        """The table on a grid, each option checked by its default.

        TypeError for an option that the solver does not have, naming those it has, or of another type;
        ValueError for one out of its range, and for levels that the solver's formulas are not for.
        """
        if not isinstance(levels, self.levels):
            expected = " or ".join(_LEVELS[kind] for kind in self.levels)
            raise ValueError(
                f"schedule is {_LEVELS[type(levels)]}, expected {expected}: sampler {self.function!r} holds "
                "for no other levels"
            )
        build: Callable[..., Table] = getattr(
            importlib.import_module(f"genfuse.samplers.{self.module}"), self.function
        )
        known = inspect.signature(build).parameters
        own = [name for name in known if name not in GIVEN]
        for name, value in options.items():
            if not own:
                raise TypeError(f"option {name!r} is given, expected none: this solver has no options")
            if name not in own:
                raise TypeError(unknown_name("option", name, own))
            check_option(name, value, known[name].default)
            if isinstance(known[name].default, float):
                options[name] = check.as_float(name, value)  # numpy's float32 would round the table
        given: dict[str, Any] = {"clip": clip, "prediction": levels.predictor(prediction)}
        if "schedule" in known:
            given["schedule"] = levels.schedule
        with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is refused, by its row
            return build(grid, **given, **{**self.options, **options})


GIVEN = ("grid", "prediction", "clip", "begin", "schedule", "landing", "truncated")
"""Arguments of a table function that are not the user's options."""

_LEVELS: dict[type[Levels], str] = {
    ScheduleLevels: "a noise schedule",
    FlowLevels: "'flow'",
    EDM: "EDM's",
}
_TIMED = (ScheduleLevels, FlowLevels)
"""Of solvers whose coefficients read training times, or that ask for times between the nodes."""

SOLVERS: dict[str, Solver] = {
    "ddpm": Solver("ddpm", "ddpm"),
    "ddim": Solver("ddim", "ddim"),
    "pndm": Solver("pndm", "pndm", levels=_TIMED),
    "euler": Solver("euler", "euler"),
    "euler_ancestral": Solver("euler", "euler_ancestral"),
    "heun": Solver("heun", "heun"),
    "dpm2": Solver("dpm2", "dpm2", levels=_TIMED),
    "dpm2_ancestral": Solver("dpm2", "dpm2_ancestral", levels=_TIMED),
    "lms": Solver("lms", "lms"),
    "dpm_2m": Solver("dpm_solver", "dpmpp_multistep", {"order": 2, "algorithm": "dpmsolver"}),
    "dpm_3m": Solver("dpm_solver", "dpmpp_multistep", {"order": 3, "algorithm": "dpmsolver"}),
    "dpm_2s": Solver("dpm_solver_singlestep", "dpmpp_singlestep", {"order": 2, "algorithm": "dpmsolver"}),
    "dpm_3s": Solver("dpm_solver_singlestep", "dpmpp_singlestep", {"order": 3, "algorithm": "dpmsolver"}),
    "dpm_2m_sde": Solver("dpm_solver", "dpmpp_multistep", {"order": 2, "algorithm": "sde-dpmsolver"}),
    "dpmpp_2m": Solver("dpm_solver", "dpmpp_multistep", {"order": 2}),
    "dpmpp_3m": Solver("dpm_solver", "dpmpp_multistep", {"order": 3}),
    "dpmpp_2s": Solver("dpm_solver_singlestep", "dpmpp_singlestep", {"order": 2}),
    "dpmpp_3s": Solver("dpm_solver_singlestep", "dpmpp_singlestep", {"order": 3}),
    "dpmpp_2m_sde": Solver("dpm_solver", "dpmpp_multistep", {"order": 2, "algorithm": "sde-dpmsolver++"}),
    "dpmpp_3m_sde": Solver("dpm_solver", "dpmpp_multistep", {"order": 3, "algorithm": "sde-dpmsolver++"}),
    "dpmpp_sde": Solver("dpm_solver_sde", "dpmpp_sde", levels=_TIMED),
    "unipc": Solver("unipc", "unipc"),
    "deis": Solver("deis", "deis"),
    "ipndm": Solver("ipndm", "ipndm"),
    "sa_solver": Solver("sa_solver", "sa_solver", levels=_TIMED),
    "lcm": Solver("lcm", "lcm", levels=_TIMED),
    "tcd": Solver("tcd", "tcd", levels=(ScheduleLevels,)),
    "flow_euler": Solver("flow", "flow_euler", levels=(FlowLevels,)),
    "flow_heun": Solver("flow", "flow_heun", levels=(FlowLevels,)),
}


def names() -> tuple[str, ...]:
    """Every solver that `Sampler` and `sample` know, sorted."""
    return tuple(sorted(SOLVERS))


def solver(name: str) -> Solver:
    """ValueError, with the nearest right name, for a solver that is not there."""
    return SOLVERS[check_name("sampler", name, names())]
