"""DPM-Solver and DPM-Solver++, multistep: derivatives of the prediction come from earlier steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from genfuse.names import check_name
from genfuse.samplers.begin import begun_table
from genfuse.samplers.clipping import clipped
from genfuse.samplers.combination import HISTORY, Combination, Float, X
from genfuse.samplers.dpm_step import Algorithm, DPMStep, SolverType, check_dpm_options, dpm_step, integrated
from genfuse.samplers.grid import Grid
from genfuse.samplers.predictor import Predictor, predict_at
from genfuse.samplers.table import NO_CLIP, Clip, Table

Curvature = Literal["exact", "published", "diffusers"]
CURVATURES: tuple[Curvature, ...] = ("exact", "published", "diffusers")

FEW_STEPS = 15
"""`lower_order_final` matters below this many steps (Lu et al. 2022b, appendix B)."""


def dpmpp_multistep(
    grid: Grid,
    prediction: Predictor = "epsilon",
    *,
    order: int = 2,
    algorithm: Algorithm = "dpmsolver++",
    solver_type: SolverType = "midpoint",
    lower_order_final: bool = True,
    euler_at_final: bool = False,
    curvature: Curvature = "exact",
    clip: Clip = NO_CLIP,
    begin: int = 0,
) -> Table:
    """DPM-Solver++(kM) (Lu et al. 2022b, algorithm 2) and its kin; see `dpm_step` for the algorithms.

    order        1 to 3: predictions that a step uses; the first rows have fewer
    solver_type  weight of the slope in second-order steps: "midpoint" half the prediction's, "heun" exact
    lower_order_final  below 15 steps the last is of order 1, the one before of order at most 2
    euler_at_final     the last step is of order 1 at any number of them; one to no noise always is
    curvature    third-order weight: "exact" for a quadratic prediction; "published": half of that, as in the
                 authors' code (so the method is of order 2); "diffusers": as published, but for
                 sde-dpmsolver++ with its sign slip (see `DPMStep.with_sign_slip`)
    begin        first row used; rows before it are empty
    ValueError: an option that is not one of these.
    """
    check_dpm_options(order, algorithm, solver_type)
    check_name("curvature", curvature, CURVATURES)
    builder = begun_table(grid, begin)
    steps, slots = len(grid), max(order - 1, 1)
    few = lower_order_final and steps < FEW_STEPS
    for i in range(begin, steps):
        raw = predict_at(prediction, grid, i)
        f = integrated(algorithm, clipped(raw, clip, grid.alpha[i], grid.sigma[i]))
        use = min(order, i - begin + 1)
        if i == steps - 1 and (euler_at_final or few or grid.sigma[-1] == 0):
            use = 1
        elif i == steps - 2 and few:
            use = min(use, 2)
        past = [f, *(HISTORY[(i - back) % slots] for back in range(1, use))]
        step = dpm_step(algorithm, grid, i, i + 1)
        if use == 2 and solver_type == "midpoint":
            step = step.midpoint()
        elif use == 3:
            step = _with_curvature(step, curvature, algorithm, grid.alpha[i + 1])
        y = step.apply(X, *_derivatives(grid, i, past))
        builder.row(grid.timesteps[i], raw, y, clip=clip, store=f if order > 1 else None, slot=i % slots)
    return builder.build()


def _derivatives(grid: Grid, i: int, past: list[Combination]) -> list[Combination]:
    """The prediction at node i and its derivatives by u = (lambda − lambda_i)/h, from those at i, i − 1, ..

    Newton's divided differences. An infinite interval behind (a node without signal) adds no derivative.
    """
    log_snr = grid.log_snr
    h = log_snr[i + 1] - log_snr[i]
    if len(past) == 1:
        return past
    h0 = log_snr[i] - log_snr[i - 1]
    slope = (past[0] - past[1]) * (h / h0)
    if len(past) == 2:
        return [past[0], slope]
    h1 = log_snr[i - 1] - log_snr[i - 2]
    bend = slope - (past[1] - past[2]) * (h / h1)
    return [past[0], slope + bend * (h0 / (h0 + h1)), bend * (2.0 * h / (h0 + h1))]


def _with_curvature(step: DPMStep, curvature: Curvature, algorithm: Algorithm, alpha: Float) -> DPMStep:
    if curvature == "diffusers" and algorithm == "sde-dpmsolver++":
        step = step.with_sign_slip(alpha)
    first, second, third = step.weights
    return step if curvature == "exact" else replace(step, weights=(first, second, third / 2.0))
