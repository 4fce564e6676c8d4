"""Order of convergence: the slope of log error against log steps is what each solver's paper says."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from genfuse.samplers.ddim import ddim
from genfuse.samplers.ddpm import ddpm
from genfuse.samplers.deis import deis
from genfuse.samplers.dpm2 import dpm2, dpm2_ancestral
from genfuse.samplers.dpm_solver import dpmpp_multistep
from genfuse.samplers.dpm_solver_sde import dpmpp_sde
from genfuse.samplers.dpm_solver_singlestep import dpmpp_singlestep
from genfuse.samplers.euler import euler, euler_ancestral
from genfuse.samplers.flow import flow_euler, flow_heun
from genfuse.samplers.grid import Grid
from genfuse.samplers.heun import heun
from genfuse.samplers.ipndm import ipndm
from genfuse.samplers.lms import lms
from genfuse.samplers.pndm import pndm
from genfuse.samplers.sa_solver import sa_solver
from genfuse.samplers.table import Table
from genfuse.samplers.unipc import unipc
from samplers.gaussian_mixture import SCHEDULE, Flow, flow_grid, run, vp_grid
from samplers.gaussian_moments import final_moments, marginal

STEPS = (48, 96, 192)
TOLERANCE = 0.25

GRIDS: dict[str, Callable[[int], Grid]] = {
    "log_snr": vp_grid,
    "sigma": functools.partial(vp_grid, even_in="sigma", first=-0.8, last=0.4),
    "flow": flow_grid,
}


@dataclass(frozen=True)
class Case:
    """A solver, its order, and where that holds.

    grid   what the steps are even in: the weights of iPNDM and PNDM are those of even steps in sigma
    known  rows that start from the exact flow. A multistep method's first steps are of lower order, and their
           error, made once, is of the second order; with exact first outputs the method itself shows. A
           corrector takes the sample for a predicted one and moves it: one row more, where that is small.
    """

    table: Callable[..., Table]
    order: float
    options: dict[str, Any] = field(default_factory=dict)
    grid: str = "log_snr"
    known: int = 0

    def __str__(self) -> str:
        options = [f"{name}={value}" for name, value in self.options.items() if name != "tau"]
        return "-".join([self.table.__name__, *options, self.grid, *(["known"] if self.known else [])])

    def build(self, grid: Grid) -> Table:
        known = inspect.signature(self.table).parameters
        fixed: dict[str, Any] = {"schedule": SCHEDULE} if "schedule" in known else {}
        if "lower_order_final" in known:
            fixed["lower_order_final"] = False
        return self.table(grid, **{**fixed, **self.options})


def no_noise(timestep: float) -> float:
    return 0.0


def all_noise(timestep: float) -> float:
    return 1.0


ODE: dict[str, Any] = {"tau": no_noise}
NOISE: dict[str, Any] = {"parametrization": "noise_prediction"}
DETERMINISTIC = [
    Case(ddim, 1),
    Case(euler, 1),
    Case(heun, 2),
    Case(dpm2, 2),
    Case(flow_euler, 1, grid="flow"),
    Case(flow_heun, 2, grid="flow"),
    Case(dpmpp_multistep, 1, {"order": 1}),
    Case(dpmpp_multistep, 2, {"order": 2}),
    Case(dpmpp_multistep, 2, {"order": 2, "solver_type": "heun"}),
    Case(dpmpp_multistep, 2, {"order": 2, "algorithm": "dpmsolver"}),
    Case(dpmpp_multistep, 3, {"order": 3}, known=2),
    Case(dpmpp_multistep, 3, {"order": 3, "algorithm": "dpmsolver"}, known=2),
    # The authors' code halves the third-order term, which leaves a method of order 2.
    Case(dpmpp_multistep, 2, {"order": 3, "curvature": "published"}, known=2),
    Case(dpmpp_singlestep, 2, {"order": 2}),
    Case(dpmpp_singlestep, 2, {"order": 2, "algorithm": "dpmsolver"}),
    Case(dpmpp_singlestep, 3, {"order": 3}),
    Case(dpmpp_singlestep, 3, {"order": 3, "solver_type": "heun"}),
    Case(dpmpp_singlestep, 3, {"order": 3, "algorithm": "dpmsolver", "solver_type": "heun"}),
    # UniPC-p is a predictor of order p and a corrector that raises it by one (Zhao et al. 2023, theorem 3.1).
    Case(unipc, 2, {"order": 1}),
    Case(unipc, 3, {"order": 2}, known=3),
    Case(unipc, 4, {"order": 3}, known=4),
    Case(unipc, 4, {"order": 3, "predict_x0": False}, known=4),
    Case(deis, 1, {"order": 1}),
    Case(deis, 2, {"order": 2}),
    Case(deis, 3, {"order": 3}, known=2),
    Case(deis, 4, {"order": 4}, known=3),
    Case(lms, 4, known=3),
    Case(ipndm, 4, {"prediction": "epsilon"}, grid="sigma", known=3),
    Case(ipndm, 2, {"prediction": "epsilon"}),
    Case(pndm, 2),
    # SA-Solver without noise: a corrector through k outputs is of order k (Xue et al. 2023, theorem 5.2).
    Case(sa_solver, 1, {**ODE, "predictor_order": 1, "corrector_order": 1}),
    Case(sa_solver, 2, {**ODE, "predictor_order": 2, "corrector_order": 2}, known=3),
    Case(sa_solver, 4, {**ODE, "predictor_order": 3, "corrector_order": 4}, known=4),
    Case(sa_solver, 4, {**ODE, **NOISE, "predictor_order": 3, "corrector_order": 4}, known=4),
]


@functools.lru_cache
def exact_flow(grid: str, steps: int) -> Flow:
    return Flow.through(GRIDS[grid](steps))


def errors(case: Case) -> list[float]:
    """Largest difference from the exact flow over all samples, for each of `STEPS`."""
    values = []
    for steps in STEPS:
        grid, exact = GRIDS[case.grid](steps), exact_flow(case.grid, steps).samples
        last = run(case.build(grid), grid, exact[0], exact, case.known)
        values.append(float(np.abs(last - exact[-1]).max()))
    return values


def slope(values: list[float]) -> float:
    """Of the straight line that fits log error against log steps best, downwards."""
    return float(-np.polyfit(np.log(STEPS), np.log(values), 1)[0])


@pytest.mark.parametrize("case", DETERMINISTIC, ids=str)
def test_order_of_convergence(case: Case) -> None:
    measured = errors(case)
    assert slope(measured) == pytest.approx(case.order, abs=TOLERANCE), measured


@pytest.mark.parametrize("order", [3, 4])
def test_a_low_order_start_is_felt(order: int) -> None:
    """From its own first steps a multistep method of high order converges as its worst one: second order."""
    assert slope(errors(Case(deis, 2, {"order": order}))) == pytest.approx(2, abs=TOLERANCE)


# Weak order, measured on mean and variance, which a Gaussian target propagates exactly.
STOCHASTIC = [
    Case(ddpm, 1),
    Case(ddim, 1, {"eta": 1.0}),
    Case(euler_ancestral, 1),
    Case(dpm2_ancestral, 2),
    Case(dpmpp_multistep, 1, {"order": 1, "algorithm": "sde-dpmsolver++"}),
    Case(dpmpp_multistep, 2, {"order": 2, "algorithm": "sde-dpmsolver++"}),
    Case(dpmpp_multistep, 2, {"order": 3, "algorithm": "sde-dpmsolver++"}),
    Case(dpmpp_multistep, 2, {"order": 2, "algorithm": "sde-dpmsolver"}),
    Case(dpmpp_sde, 2),
    Case(sa_solver, 1, {"tau": all_noise, "predictor_order": 1, "corrector_order": 1}),
    Case(sa_solver, 2, {"tau": all_noise, "predictor_order": 2, "corrector_order": 2}),
    Case(sa_solver, 2, {"tau": all_noise, "predictor_order": 3, "corrector_order": 3}),
    Case(sa_solver, 2, {"tau": all_noise, **NOISE, "predictor_order": 2, "corrector_order": 2}),
]


def moment_errors(case: Case) -> list[float]:
    """Largest error of mean and variance at the last node, for each of `STEPS`."""
    values = []
    for steps in STEPS:
        grid = GRIDS[case.grid](steps)
        expected = marginal(grid.alpha[-1], grid.sigma[-1])
        values.append(float(np.abs(final_moments(case.build(grid), grid) - expected).max()))
    return values


@pytest.mark.parametrize("case", STOCHASTIC, ids=str)
def test_moments_of_stochastic_solvers(case: Case) -> None:
    measured = moment_errors(case)
    assert measured[-1] < 0.02
    assert slope(measured) == pytest.approx(case.order, abs=TOLERANCE), measured
